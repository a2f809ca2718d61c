"""Spread independent jobs over processes, with a progress bar and a clean stop."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.synchronize import Event
from typing import TypeVar

import cv2

from utils.cli import UserError
from utils.progress import progress_bar
from utils.stopping import StopRequest

Job = TypeVar("Job")
Result = TypeVar("Result")

_JOBS_PER_WORKER = 4  # handed out ahead
_stop: Event | None = None  # set in worker processes only


class JobStopped(Exception):
    """Raised inside a worker process that has been told to leave its job unfinished."""


def check_stop() -> None:
    """To be called now and then by long jobs: raises JobStopped when the whole run is being stopped."""
    if _stop is not None and _stop.is_set():
        raise JobStopped


def run_jobs(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, unit: str) -> list[Result]:
    """``function(job)`` for every job; the results in the order of ``jobs``.

    workers: number of processes; 1 works in this process. unit: what a job is, for the progress bar. An exception in
    a job ends the run; UserError when a process dies. Ctrl-C and SIGTERM reach this process only: running jobs are
    told to stop (see check_stop) and waited for, waiting ones are dropped, then the exception goes on.
    """
    with progress_bar(total=len(jobs), unit=unit, disable=not jobs, dynamic_ncols=True) as bar:
        if workers == 1 or len(jobs) < 2:
            results = []
            for job in jobs:
                results.append(function(job))
                bar.update()
            return results
        # A signal must not raise in the middle of the executor's own work: it is noted and honoured between two jobs.
        with StopRequest() as request:
            results = _run_in_processes(function, jobs, min(workers, len(jobs)), bar.update, request)
        if request.signum is not None:
            request.raise_stop()
        return results


def _run_in_processes(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, tick: Callable[[], object], stop: StopRequest
) -> list[Result]:
    """The results so far when a stop is requested, else all."""
    context = multiprocessing.get_context("spawn")  # fork would copy the state of torch's and OpenCV's threads
    leave = context.Event()
    executor = ProcessPoolExecutor(workers, context, _start_worker, (leave,))
    results: dict[int, Result] = {}
    waiting = enumerate(jobs)
    running: dict[Future, int] = {}
    try:
        while stop.signum is None:
            for number, job in islice(waiting, workers * _JOBS_PER_WORKER - len(running)):
                running[executor.submit(function, job)] = number
            if not running:
                break
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in done:
                results[running.pop(future)] = future.result()
                tick()
    except BrokenProcessPool as error:
        if stop.signum is not None:  # the signal reached a process that had just been started
            return [results[number] for number in sorted(results)]
        raise UserError(
            "a worker process died, killed from outside or for want of memory; what is finished is kept: run this "
            "again, with fewer --workers where memory is short"
        ) from error
    finally:
        leave.set()
        executor.shutdown(cancel_futures=True)
    return [results[number] for number in sorted(results)]


def _start_worker(stop: Event) -> None:
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A parent killed outright cannot tell its workers to stop."""
    multiprocessing.parent_process().join()
    os._exit(1)
