"""The web page, and its endpoint for programs, as a Starlette application."""

import asyncio
import contextlib
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prediction.web import rendering
from prediction.web.connections import is_loopback
from prediction.web.prediction_queue import PredictionQueue
from prediction.web.request_guard import RequestGuard
from prediction.web.worker import Limits, Task
from utils.cli import UserError

_MOST_UPLOADS = 50  # at a time
_MOST_FILES = 10  # of an address at a time; of this machine more, perhaps from a proxy
_UPLOAD_SECONDS = 300
_FORM_LIMITS = {"max_files": 1, "max_fields": 2, "max_part_size": 10_000}  # bytes of a field that is not a file


@dataclass
class Page:
    """The page and the handlers of its requests."""

    queue: PredictionQueue
    samples: Mapping[str, Path]  # name on the page -> file
    folder: Path  # holds uploads and results until the answer is sent
    limits: Limits
    local: bool  # only this machine may use the page
    stopping: Callable[[], bool]  # whether the server is about to end; predictions are then abandoned
    uploads: int = 0  # requests whose body is being received
    files: Counter[str] = field(default_factory=Counter)  # address -> its requests with a file that are being answered

    def app(self) -> Starlette:
        css, script = (Response(text, media_type=f"text/{kind}") for kind, text in rendering.assets().items())
        routes = [
            Route("/", self.show, methods=["GET"]),
            Route("/", self.answer_form, methods=["POST"]),
            Route("/predict", self.answer_program, methods=["POST"]),
            Route("/progress/{job}", self.progress, methods=["GET"]),
            Route("/page.css", lambda request: css, methods=["GET"]),
            Route("/page.js", lambda request: script, methods=["GET"]),
        ]
        guard = Middleware(RequestGuard, limits=self.limits, local=self.local, busy=self.is_busy)
        handlers = dict.fromkeys((HTTPException, ClientDisconnect, UserError, Exception), _answer_error)
        return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers)

    def is_busy(self, sender: str) -> bool:
        """Whether no more files are taken from an address."""
        too_many = self.files[sender] >= _MOST_FILES and not is_loopback(sender)
        return too_many or self.queue.is_full() or self.uploads >= _MOST_UPLOADS

    async def show(self, request: Request) -> Response:
        return self._page("")

    async def answer_form(self, request: Request) -> Response:
        """The page with the result; for the page's script the result alone."""
        async with self._form(request) as form:
            with self._folder() as folder:
                prediction = await self._predict(request, form, folder, pictures=True)
                result = rendering.result_html(prediction, folder / "result", self.queue.worker.tree)
        return JSONResponse({"html": result}) if rendering.wants_json(request) else self._page(result)

    async def answer_program(self, request: Request) -> Response:
        """The content of prediction.json without its settings and without pictures."""
        async with self._form(request) as form:
            with self._folder() as folder:
                prediction = await self._predict(request, form, folder, pictures=False)
        del prediction["settings"]
        return JSONResponse(prediction)

    async def progress(self, request: Request) -> Response:
        return JSONResponse(self.queue.progress(request.path_params["job"]))

    @contextlib.asynccontextmanager
    async def _form(self, request: Request) -> AsyncIterator[FormData]:
        """The form of a request; its temporary files are removed at the end."""
        sender = request.client.host if request.client else ""
        self.files[sender] += 1
        try:
            form = await self._received(request)
            try:
                yield form
            finally:
                await form.close()
        finally:
            self.files[sender] -= 1
            self.files += Counter()  # drops zeros

    async def _received(self, request: Request) -> FormData:
        self.uploads += 1
        try:
            return await asyncio.wait_for(_parsed(request), _UPLOAD_SECONDS)
        except asyncio.TimeoutError:
            raise HTTPException(408, f"the file did not arrive within {_UPLOAD_SECONDS} s; send it again") from None
        finally:
            self.uploads -= 1

    @contextlib.contextmanager
    def _folder(self) -> Iterator[Path]:
        """A temporary folder for a request. Somebody may have removed the one that holds it."""
        self.folder.mkdir(0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    async def _predict(self, request: Request, form: FormData, folder: Path, pictures: bool) -> dict:
        """Predict the file or the sample of a form. The results go into ``folder``/result."""
        name, path = await self._input_of(form, folder)

        async def given_up() -> bool:
            return self.stopping() or await request.is_disconnected()

        task = Task(path, folder / "result", pictures, self.limits)
        return await self.queue.run(str(form.get("job", "")), task, given_up) | {"input": name}

    async def _input_of(self, form: FormData, folder: Path) -> tuple[str, Path]:
        """(name, file) of the upload or the sample. An upload is written into ``folder``/upload."""
        upload, sample = form.get("file"), form.get("sample")
        if isinstance(upload, UploadFile) and upload.filename:
            path = folder / "upload" / file_name(upload.filename)
            path.parent.mkdir()
            with path.open("wb") as file:
                await run_in_threadpool(shutil.copyfileobj, upload.file, file)
            await upload.close()  # its own temporary copy
            return upload.filename, path
        if isinstance(sample, str) and sample in self.samples:
            return sample, self.samples[sample]
        if sample is not None:
            raise HTTPException(400, "choose a photograph or a video first")
        raise HTTPException(400, "send a photograph or a video in the form field 'file'")

    def _page(self, result: str) -> Response:
        settings = self.queue.worker.settings
        low, high = settings["band"]
        made_with = [
            Path(settings["checkpoint"]).name,
            f"faces by {settings['detector']}",
            f"{settings['n_frames']} frames of a video",
            f"fake from {high:g}" if low == high else f"uncertain from {low:g} to {high:g}",
            "calibrated" if settings["calibration"] is not None else "not calibrated",
        ]
        return rendering.page_response(
            result=result, samples=sorted(self.samples), limits=self.limits, made_with=made_with
        )


async def _parsed(request: Request) -> FormData:
    return await request.form(**_FORM_LIMITS)


def file_name(name: str) -> str:
    """Turn the last part of a name that a client sent into a file name that is valid on every system."""
    last = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", last)[-100:].strip(".") or "upload"


async def _answer_error(request: Request, error: Exception) -> Response:
    match error:
        case HTTPException():
            return rendering.error_response(request, error.status_code, error.detail)
        case ClientDisconnect():  # the client is gone and reads nothing, or the server is about to end
            return rendering.error_response(request, 503, "the page is closing")
        case UserError():
            return rendering.error_response(request, 500, str(error))
    return rendering.error_response(request, 500, "the page failed; its terminal says why")
