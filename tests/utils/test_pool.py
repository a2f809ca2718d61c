import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.platforms import posix_only
from utils.cli import UserError, script
from utils.pool import run_jobs


def double(number):
    return 2 * number


def stop_and_die(number):
    os.kill(os.getppid(), signal.SIGTERM)
    os._exit(3)


def die(number):
    os._exit(3)


def die_of_three(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    return double(number)


def tell(name):
    print(name, flush=True)


def test_names_that_a_worker_prints_command_no_terminal(capfd):
    run_jobs(tell, ["a\x1b[31mb", "c"], 2, "job")
    told = capfd.readouterr().out
    assert "a?[31mb" in told and "c" in told and "\x1b" not in told


def test_results_come_in_the_order_of_the_jobs():
    assert run_jobs(double, range(11), 1, "job") == run_jobs(double, range(11), 2, "job") == list(range(0, 22, 2))
    assert run_jobs(double, [], 2, "job") == []


@posix_only
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_processes_start_stops_cleanly(monkeypatch, signum):
    """Raised inside ProcessPoolExecutor.submit it would leave a thread that was never started to be joined."""
    launch = ProcessPoolExecutor._start_executor_manager_thread

    def interrupted(executor):
        os.kill(os.getpid(), signum)
        launch(executor)

    monkeypatch.setattr(ProcessPoolExecutor, "_start_executor_manager_thread", interrupted)
    exit_codes = {signal.SIGTERM: 143, signal.SIGINT: 130}
    assert script(lambda argv: run_jobs(double, range(4), 2, "job"))([]) == exit_codes[signum]


@posix_only
def test_signals_that_reach_processes_while_they_start_change_nothing(monkeypatch):
    """A terminal's Ctrl-C is for the whole group; it is the first process's to stop the others."""
    submit = ProcessPoolExecutor.submit

    def signalled(executor, *job):
        future = submit(executor, *job)
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGINT)
            os.kill(child.pid, signal.SIGTERM)
        return future

    monkeypatch.setattr(ProcessPoolExecutor, "submit", signalled)
    assert run_jobs(double, range(4), 2, "job") == [0, 2, 4, 6]


def test_a_process_that_dies_is_one_clear_line():
    with pytest.raises(UserError, match="a worker process was killed"):
        run_jobs(die, range(4), 2, "job")


@posix_only
def test_a_job_that_kills_its_process_costs_itself_only():
    results = run_jobs(die_of_three, range(9), 2, "job", on_crash=lambda number: -number)
    assert results == [0, 2, 4, -3, 8, 10, 12, 14, 16]
    assert run_jobs(die_of_three, [3], 2, "job", on_crash=lambda number: -number) == [-3]


@posix_only
def test_a_process_that_the_signal_ends_too_is_no_error():
    assert script(lambda argv: run_jobs(stop_and_die, range(4), 2, "job"))([]) == 143
