"""Spread independent jobs over processes, with a progress bar and a clean stop."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from typing import TypeVar

import cv2

from utils.cli import UserError
from utils.progress import progress_bar
from utils.stopping import StopRequest, ignore_stop_signals, stop_signals_wait

Job = TypeVar("Job")
Result = TypeVar("Result")

_JOBS_PER_WORKER = 4  # handed out ahead
_stop: Event | None = None  # set in worker processes only


class WorkerDied(UserError):
    """A process that did jobs was killed, or ended by its job."""


class JobStopped(Exception):
    """Raised inside a worker process that has been told to leave its job unfinished."""


def check_stop() -> None:
    """To be called now and then by long jobs: raises JobStopped when the whole run is being stopped."""
    if _stop is not None and _stop.is_set():
        raise JobStopped


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    workers: int,
    unit: str,
    of_deadly: Callable[[Job], Result] | None = None,
) -> list[Result]:
    """``function(job)`` for every job; the results in the order of ``jobs``.

    workers: number of processes; 1 works in this process. unit: what a job is, for the progress bar. An exception in
    a job ends the run. of_deadly: gives the result of a job that twice ended its process, the second time alone in it;
    without it WorkerDied when a process dies. Ctrl-C and SIGTERM reach this process only: running jobs are told to stop
    (see check_stop) and waited for, waiting ones are dropped, then the exception goes on.
    """
    with progress_bar(total=len(jobs), unit=unit, disable=not jobs, dynamic_ncols=True) as bar:
        if workers == 1 or len(jobs) < (1 if of_deadly else 2):
            results = []
            for job in jobs:
                results.append(function(job))
                bar.update()
            return results
        # A signal must not raise in the middle of the executor's own work: it is noted and honoured between two jobs.
        with StopRequest() as request:
            crew = _Crew(function, jobs, bar.update, request)
            crew.run(min(workers, len(jobs)), of_deadly)
        if request.signum is not None:
            request.raise_stop()
        return [crew.results[number] for number in sorted(crew.results)]


class _Crew:
    """Works jobs off in processes; ``results`` holds those done so far, by the job's number."""

    def __init__(
        self, function: Callable[[Job], Result], jobs: Sequence[Job], tick: Callable[[], object], stop: StopRequest
    ) -> None:
        self.function, self.jobs, self.tick, self.stop = function, jobs, tick, stop
        self.results: dict[int, Result] = {}

    def run(self, workers: int, of_deadly: Callable[[Job], Result] | None) -> None:
        """All jobs, or those up to a stop."""
        waiting = deque(range(len(self.jobs)))
        while waiting and self.stop.signum is None:
            suspects = deque(self._work(waiting, workers, _JOBS_PER_WORKER))
            if suspects and of_deadly is None and self.stop.signum is None:
                raise WorkerDied(
                    "a worker process died, killed from outside or for want of memory; what is finished is kept: run "
                    "this again, with fewer --workers where memory is short"
                )
            while suspects and self.stop.signum is None:
                for number in self._work(suspects, 1, 1):
                    if self.stop.signum is None:  # else the signal may have ended the process, not the job
                        self._done(number, of_deadly(self.jobs[number]))

    def _work(self, waiting: deque[int], workers: int, ahead: int) -> list[int]:
        """Do the waiting jobs, ``ahead`` of them handed out to each process. When a process dies all of them end: then
        the jobs that were handed out and not done, else none."""
        context = multiprocessing.get_context("spawn")  # fork would copy the state of torch's and OpenCV's threads
        leave = context.Event()
        executor = ProcessPoolExecutor(workers, context, _start_worker, (leave,))
        running: dict[Future, int] = {}
        try:
            while self.stop.signum is None:
                while waiting and len(running) < workers * ahead:
                    # It may start a process, which takes the mask over: until it ignores signals it must not get any.
                    with stop_signals_wait():
                        future = executor.submit(self.function, self.jobs[waiting[0]])
                    running[future] = waiting.popleft()
                if not running:
                    break
                done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    self._done(running[future], future.result())
                    del running[future]
        except BrokenProcessPool:
            whole = [future for future in running if future.done() and future.exception() is None]
            for future in whole:
                self._done(running.pop(future), future.result())
            return list(running.values())
        finally:
            leave.set()
            executor.shutdown(cancel_futures=True)
        return []

    def _done(self, number: int, result: Result) -> None:
        self.results[number] = result
        self.tick()


def _start_worker(stop: Event) -> None:
    global _stop
    _stop = stop
    ignore_stop_signals()
    cv2.setNumThreads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A parent killed outright cannot tell its workers to stop."""
    multiprocessing.parent_process().join()
    os._exit(1)
