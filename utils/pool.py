"""Spread independent jobs over processes, with a progress bar and a clean stop."""

import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from typing import Generic, TypeVar

import cv2

from utils.cli import UserError
from utils.progress import progress_bar
from utils.stopping import StopRequest, ignore_stop_signals, stop_signals_wait
from utils.terminal import guarded

Job = TypeVar("Job")
Result = TypeVar("Result")

_JOBS_PER_WORKER = 4  # submitted ahead
_stop: Event | None = None  # set in worker processes only


class WorkerDied(UserError):
    """A worker process was killed, or crashed in its job."""


class JobStopped(Exception):
    """The run is being stopped: abandon the job."""


def check_stop() -> None:
    """Raise JobStopped in a worker process if the run is being stopped. Long jobs call it now and then."""
    if _stop is not None and _stop.is_set():
        raise JobStopped


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int,
    unit: str,
    on_crash: Callable[[Job], Result] | None = None,
) -> list[Result]:
    """Run ``function(job)`` for every job; returns the results in the order of ``jobs``.

    On Ctrl-C or SIGTERM it tells running jobs to stop (see ``check_stop``), waits for them, drops the others, and
    raises KeyboardInterrupt or Stopped.

    Args:
        function: An exception in it ends the run.
        workers: Number of processes; 1: this process does the work.
        unit: What a job is, for the progress bar.
        on_crash: Gives the result of a job that crashed its process twice, the second time running alone.

    Raises WorkerDied if a process died, and ``on_crash`` is not given.
    """
    with progress_bar(total=len(jobs), unit=unit, disable=not jobs, dynamic_ncols=True) as bar:
        if workers == 1 or len(jobs) < (1 if on_crash else 2):
            results = []
            for job in jobs:
                results.append(function(job))
                bar.update()
            return results
        with StopRequest() as request:  # an exception inside the executor's own code would leave it broken
            runner = _JobRunner(function, jobs, bar.update, request)
            runner.run(min(workers, len(jobs)), on_crash)
        if request.signum is not None:
            request.raise_stop()
        return [runner.results[number] for number in sorted(runner.results)]


class _JobRunner(Generic[Job, Result]):
    """Runs jobs in worker processes. ``results``: number of a job -> its result."""

    def __init__(
        self, function: Callable[[Job], Result], jobs: Sequence[Job], on_done: Callable[[], object], stop: StopRequest
    ) -> None:
        self.function, self.jobs, self.on_done, self.stop = function, jobs, on_done, stop
        self.results: dict[int, Result] = {}

    def run(self, workers: int, on_crash: Callable[[Job], Result] | None) -> None:
        waiting = deque(range(len(self.jobs)))
        while waiting and self.stop.signum is None:
            suspects = deque(self._run_until_crash(waiting, workers, _JOBS_PER_WORKER))
            if not suspects or self.stop.signum is not None:
                continue
            if on_crash is None:
                raise WorkerDied(
                    "a worker process was killed, perhaps for lack of memory; finished work is kept: run this again, "
                    "with fewer --workers if memory is short"
                )
            while suspects and self.stop.signum is None:
                for number in self._run_until_crash(suspects, 1, 1):
                    if self.stop.signum is None:  # else the signal may have ended the process
                        self._done(number, on_crash(self.jobs[number]))

    def _run_until_crash(self, waiting: deque[int], workers: int, ahead: int) -> list[int]:
        """Run waiting jobs, at most ``ahead`` submitted per process. Returns the jobs lost if a process died."""
        context = multiprocessing.get_context("spawn")  # fork would copy locks held by torch's and OpenCV's threads
        leave, others = context.Event(), multiprocessing.active_children()
        executor = ProcessPoolExecutor(workers, context, _start_worker, (leave,))
        running: dict[Future, int] = {}
        try:
            while self.stop.signum is None:
                while waiting and len(running) < workers * ahead:
                    with stop_signals_wait():  # a process started here ignores signals until it is ready
                        future = executor.submit(self.function, self.jobs[waiting[0]])
                    running[future] = waiting.popleft()
                if not running:
                    break
                done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    self._done(running[future], future.result())
                    del running[future]
        except BrokenProcessPool:
            for worker in multiprocessing.active_children():
                if worker not in others:
                    worker.kill()  # it ignores the SIGTERM with which the executor ends it
            for future in [future for future in running if future.done() and future.exception() is None]:
                self._done(running.pop(future), future.result())
            return list(running.values())
        finally:
            leave.set()
            executor.shutdown(cancel_futures=True)
        return []

    def _done(self, number: int, result: Result) -> None:
        self.results[number] = result
        self.on_done()


def _start_worker(stop: Event) -> None:
    global _stop
    _stop = stop
    sys.stdout, sys.stderr = guarded(sys.stdout), guarded(sys.stderr)
    ignore_stop_signals()
    cv2.setNumThreads(1)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """End this worker when its parent is killed, which then cannot tell it to stop."""
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)
