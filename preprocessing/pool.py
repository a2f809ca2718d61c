"""Spread independent jobs over processes, with a progress bar and a clean stop."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.synchronize import Event
from typing import TypeVar

import cv2

from utils.progress import progress_bar

Job = TypeVar("Job")
Result = TypeVar("Result")

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
    a job ends the run. Ctrl-C and SIGTERM reach this process only: running jobs are told to stop (see check_stop) and
    waited for, waiting ones are dropped, then the exception goes on.
    """
    bar = progress_bar(total=len(jobs), unit=unit, disable=not jobs, dynamic_ncols=True)
    with bar:
        if workers == 1 or len(jobs) < 2:
            results = []
            for job in jobs:
                results.append(function(job))
                bar.update()
            return results
        context = multiprocessing.get_context("spawn")  # fork would copy the state of torch's and OpenCV's threads
        stop = context.Event()
        executor = ProcessPoolExecutor(min(workers, len(jobs)), context, _start_worker, (stop,))
        try:
            futures = [executor.submit(function, job) for job in jobs]
            for future in as_completed(futures):
                future.result()
                bar.update()
        finally:
            stop.set()
            executor.shutdown(cancel_futures=True)
        return [future.result() for future in futures]


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
