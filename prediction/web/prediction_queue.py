"""Run one prediction at a time; the others wait in line."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from starlette.requests import ClientDisconnect

from prediction.pipeline import Progress

_INTERVAL = 0.1  # seconds between two looks at a job


class Abandoned(Exception):
    """Raised inside a prediction that nobody waits for any more."""


class Job:
    """A prediction that waits or runs."""

    def __init__(self) -> None:
        self.step, self.share = "", 0.0
        self.abandoned = False

    def report(self, step: str, share: float) -> None:
        """Note the progress. Raises Abandoned if the job is no longer wanted."""
        if self.abandoned:
            raise Abandoned
        self.step, self.share = step, share


class PredictionQueue:
    """Jobs in order of arrival; the first one runs, in a thread of its own."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._thread = ThreadPoolExecutor(1)

    def progress(self, name: str) -> dict[str, object]:
        """How many jobs are ahead of a job, its step, and the share of it that is done; empty for an unknown job."""
        if name not in self._jobs:
            return {}
        job = self._jobs[name]
        return {"ahead": list(self._jobs).index(name), "step": job.step, "share": job.share}

    async def run(self, name: str, work: Callable[[Progress], dict], given_up: Callable[[], Awaitable[bool]]) -> dict:
        """Wait in line, then run ``work``.

        Args:
            name: Of the job, for ``progress``.
            work: Gets a function to report its progress to; runs in another thread.
            given_up: Whether the client is gone. Then the job is dropped, or stopped at its next report.

        Returns:
            What ``work`` returns. When ``run`` has ended, ``work`` has ended.

        Raises:
            ClientDisconnect: The client is gone.
        """
        job = self._jobs[name] = Job()
        running = self._thread.submit(work, job.report)
        try:
            while not running.done():
                if await given_up():
                    raise ClientDisconnect
                await asyncio.sleep(_INTERVAL)
            return running.result()
        finally:
            job.abandoned = True
            running.cancel()
            while not running.done():
                await asyncio.sleep(_INTERVAL)
            self._jobs.pop(name, None)
