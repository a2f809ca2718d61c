"""The web page, and its endpoint for programs, as a Starlette application."""

import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prediction.context import PredictionContext
from prediction.people import open_source
from prediction.pipeline import Progress, predict
from prediction.web import rendering
from prediction.web.prediction_queue import PredictionQueue
from prediction.web.request_guard import RequestGuard, too_large
from preprocessing.extraction.photos import PhotoError
from preprocessing.extraction.video import VideoError, count_frames, frame_rate
from utils.cli import UserError

_FORM_LIMITS = {"max_files": 1, "max_fields": 2, "max_part_size": 10_000}  # bytes of a field that is not a file


@dataclass
class Page:
    """The page and the handlers of its requests."""

    context: PredictionContext
    samples: Mapping[str, Path]  # name on the page -> file
    folder: Path  # holds uploads and results until the answer is sent
    max_mb: float  # of a file
    max_seconds: float  # of a video
    local: bool  # only this machine may use the page
    stopping: Callable[[], bool]  # whether the server is about to end; predictions are then abandoned

    def __post_init__(self) -> None:
        self.max_bytes = int(self.max_mb * 2**20)
        self.queue = PredictionQueue()

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
        guard = Middleware(RequestGuard, max_bytes=self.max_bytes, local=self.local)
        handlers = dict.fromkeys((HTTPException, ClientDisconnect, UserError, Exception), _answer_error)
        return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers)

    async def show(self, request: Request) -> Response:
        return self._page("")

    async def answer_form(self, request: Request) -> Response:
        """The page with the result; for the page's script the result alone."""
        async with request.form(**_FORM_LIMITS) as form:
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                prediction = await self._predict(request, form, Path(folder), self.context)
                result = rendering.result_html(prediction, Path(folder) / "result", self.context.predictor.tree)
        return JSONResponse({"html": result}) if rendering.wants_json(request) else self._page(result)

    async def answer_program(self, request: Request) -> Response:
        """The content of prediction.json without its settings and without pictures."""
        async with request.form(**_FORM_LIMITS) as form:
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                context = self.context._replace(pictures=False)
                prediction = await self._predict(request, form, Path(folder), context)
        del prediction["settings"]
        return JSONResponse(prediction)

    async def progress(self, request: Request) -> Response:
        return JSONResponse(self.queue.progress(request.path_params["job"]))

    async def _predict(self, request: Request, form: FormData, folder: Path, context: PredictionContext) -> dict:
        """Predict the file or the sample of a form. The results go into ``folder``/result."""
        name, path = await self._input_of(form, folder)

        def work(report: Progress) -> dict:
            self.check_limits(path)
            return predict(path, folder / "result", context, on_progress=report) | {"input": name}

        async def given_up() -> bool:
            return self.stopping() or await request.is_disconnected()

        return await self.queue.run(str(form.get("job") or secrets.token_hex(16)), work, given_up)

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

    def check_limits(self, path: Path) -> None:
        """Raises HTTPException if a file is too large, or a video too long."""
        if path.stat().st_size > self.max_bytes:
            raise HTTPException(413, too_large(self.max_bytes))
        try:
            seconds = count_frames(path) / frame_rate(path) if open_source(path).photo is None else 0
        except (PhotoError, VideoError):
            return  # the prediction says why it cannot be read
        if seconds > self.max_seconds:
            limit = f"the page takes {self.max_seconds:g} s; cut it, or start the page with another --max_seconds"
            raise HTTPException(413, f"the video has {seconds:.0f} s, {limit}")

    def _page(self, result: str) -> Response:
        settings = self.context.settings
        low, high = settings["band"]
        made_with = [
            Path(settings["checkpoint"]).name,
            f"faces by {settings['detector']}",
            f"{settings['n_frames']} frames of a video",
            f"fake from {high:g}" if low == high else f"uncertain from {low:g} to {high:g}",
            "calibrated" if settings["calibration"] is not None else "not calibrated",
        ]
        return rendering.page_response(result=result, samples=sorted(self.samples), page=self, made_with=made_with)


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
