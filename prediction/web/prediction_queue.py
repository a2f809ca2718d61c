"""Run one prediction at a time, in order of arrival."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from starlette.requests import ClientDisconnect

from prediction.pipeline import Progress

_INTERVAL = 0.1  # seconds between two looks at a job


class Abandoned(Exception):
    """Raised inside a prediction whose client is gone."""


class PredictionQueue:
    """Jobs in order of arrival. The first one runs in a thread of its own."""

    def __init__(self) -> None:
        self._jobs: dict[str, dict[str, object]] = {}  # name -> {step, share}
        self._thread = ThreadPoolExecutor(1)

    def progress(self, name: str) -> dict[str, object]:
        """{number of jobs ahead, step, share of the step done} of a job; {} for an unknown job."""
        if name not in self._jobs:
            return {}
        return {"ahead": list(self._jobs).index(name), **self._jobs[name]}

    async def run(self, name: str, work: Callable[[Progress], dict], given_up: Callable[[], Awaitable[bool]]) -> dict:
        """Wait in line, run ``work`` in another thread, return its result. When ``run`` ends, ``work`` has ended.

        Args:
            name: Name of the job, for ``progress``.
            work: Gets a function to which it reports its progress.
            given_up: Whether the client is gone. Then the job is dropped, or stopped at its next report, and
                ClientDisconnect is raised.
        """
        job: dict[str, object] = {"step": "", "share": 0.0}
        self._jobs[name], abandoned = job, threading.Event()

        def report(step: str, share: float) -> None:
            if abandoned.is_set():
                raise Abandoned
            job.update(step=step, share=share)

        running = self._thread.submit(work, report)
        try:
            while not running.done():
                if await given_up():
                    raise ClientDisconnect
                await asyncio.sleep(_INTERVAL)
            return running.result()
        finally:
            abandoned.set()
            running.cancel()
            while not running.done():
                await asyncio.sleep(_INTERVAL)
            self._jobs.pop(name, None)
