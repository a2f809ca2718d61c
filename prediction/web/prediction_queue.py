"""Run one prediction at a time, in order of arrival."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from prediction.web.worker import Made, Progress, Refusal, Task, Worker

MOST_JOBS = 50  # in line, the running one too
BUSY = "the page is busy: too many files are in line, or too many of yours; try again in some minutes"
_INTERVAL = 0.05  # seconds between two looks at a job
_PATIENCE = 3.0  # seconds that a prediction has to end after it was told to


class _Job:
    def __init__(self, name: str) -> None:
        self.name, self.progress = name, Progress("", 0.0)


class PredictionQueue:
    """Jobs in order of arrival; a worker does the first one. As a context manager it ends the worker.

    Args:
        start: starts a worker; also if one was ended, or has died.
        time_limit: seconds for a prediction.
    """

    def __init__(self, start: Callable[[], Worker], time_limit: float) -> None:
        self._start, self._time_limit = start, time_limit
        self._jobs: list[_Job] = []
        self.worker = start()

    def __enter__(self) -> "PredictionQueue":
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.kill()

    def is_full(self) -> bool:
        return len(self._jobs) >= MOST_JOBS

    def progress(self, name: str) -> dict[str, object]:
        """{number of jobs ahead, step, share of the step done} of a job; {} for an unknown job."""
        for ahead, job in enumerate(self._jobs):
            if job.name == name:
                return {"ahead": ahead, **job.progress._asdict()}
        return {}

    async def run(self, name: str, task: Task, given_up: Callable[[], Awaitable[bool]]) -> dict:
        """Wait in line, let the worker do a task, return the prediction. When ``run`` ends, nobody uses the file.

        Args:
            name: Name of the job, for ``progress``.
            task: What to do.
            given_up: Whether the client is gone. Then the job is dropped, and ClientDisconnect is raised.

        Raises HTTPException if the queue is full, or the file is refused, takes too long or ends the process.
        """
        if self.is_full():
            raise HTTPException(503, BUSY)
        job = _Job(name)
        self._jobs.append(job)
        try:
            await _check(given_up)
            while self._jobs[0] is not job:
                await asyncio.sleep(_INTERVAL)
                await _check(given_up)
            if not self.worker.is_alive():
                self.worker = await run_in_threadpool(self._start)
            try:
                return await self._result(job, task, given_up)
            finally:
                await self._end_task()
        finally:
            self._jobs.remove(job)

    async def _result(self, job: _Job, task: Task, given_up: Callable[[], Awaitable[bool]]) -> dict:
        deadline = time.monotonic() + self._time_limit
        self.worker.submit(task)
        while True:
            for message in self.worker.messages():
                match message:
                    case Progress():
                        job.progress = message
                    case Made(prediction):
                        return prediction
                    case Refusal(status, text):
                        raise HTTPException(status, text)
            if not self.worker.is_alive():
                raise HTTPException(500, "this file ended the process that looked at it; the page's terminal says why")
            if time.monotonic() > deadline:
                limit = f"it took longer than {self._time_limit:g} s"
                raise HTTPException(413, f"{limit}; cut it, or start the page with another --time_limit")
            await _check(given_up)
            await asyncio.sleep(_INTERVAL)

    async def _end_task(self) -> None:
        """Wait for the end of a task whose result nobody wants; end the worker if that takes long."""
        if self.worker.is_busy():
            self.worker.stop()
        deadline = time.monotonic() + _PATIENCE
        while self.worker.is_busy():
            for _ in self.worker.messages():
                pass
            if time.monotonic() > deadline:
                self.worker.kill()
            await asyncio.sleep(_INTERVAL)


async def _check(given_up: Callable[[], Awaitable[bool]]) -> None:
    if await given_up():
        raise ClientDisconnect
