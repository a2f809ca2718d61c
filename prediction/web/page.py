"""The web page and its endpoint for programs, as a Starlette application."""

import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prediction.people import open_source
from prediction.pipeline import PredictionContext, Progress, predict
from prediction.web.prediction_queue import PredictionQueue
from prediction.web.rendering import (
    error_response,
    html_response,
    page_html,
    result_html,
    script,
    style_sheet,
    wants_json,
)
from prediction.web.request_guard import RequestGuard, too_large
from preprocessing.extraction.photos import PhotoError
from preprocessing.extraction.video import VideoError, count_frames, frame_rate
from utils.cli import UserError

_FORM_LIMITS = {"max_files": 1, "max_fields": 2, "max_part_size": 10_000}  # bytes of a field that is not a file


class Limits(NamedTuple):
    """What the page takes."""

    max_mb: float  # of a file
    max_seconds: float  # of a video

    @property
    def max_bytes(self) -> int:
        return int(self.max_mb * 2**20)


def build_app(
    context: PredictionContext,
    samples: Mapping[str, Path],
    folder: Path,
    limits: Limits,
    local: bool,
    stopping: Callable[[], bool] = lambda: False,
) -> Starlette:
    """Build the application.

    Args:
        context: Model and settings.
        samples: Name on the page -> file to choose from.
        folder: Holds uploads and results until they are answered.
        limits: Of uploads.
        local: Whether only this machine may use the page.
        stopping: Whether the server is about to end; running predictions are then given up.
    """
    page = Page(context, samples, folder, limits, stopping)
    css, javascript = style_sheet(), script()
    routes = [
        Route("/", page.show, methods=["GET"]),
        Route("/", page.answer_person, methods=["POST"]),
        Route("/predict", page.answer_program, methods=["POST"]),
        Route("/progress/{job}", page.progress, methods=["GET"]),
        Route("/page.css", lambda request: Response(css, media_type="text/css")),
        Route("/page.js", lambda request: Response(javascript, media_type="text/javascript")),
    ]
    guard = Middleware(RequestGuard, largest=limits.max_bytes, local=local)
    handlers = {HTTPException: _http_error, UserError: _user_error, ClientDisconnect: _gone, Exception: _failure}
    return Starlette(routes=routes, middleware=[guard], exception_handlers=handlers)


class Page:
    """The handlers of all requests; arguments as for ``build_app``."""

    def __init__(
        self,
        context: PredictionContext,
        samples: Mapping[str, Path],
        folder: Path,
        limits: Limits,
        stopping: Callable[[], bool],
    ) -> None:
        self.context, self.samples, self.folder, self.limits = context, samples, folder, limits
        self.stopping = stopping
        self.queue = PredictionQueue()

    async def show(self, request: Request) -> Response:
        """The empty page."""
        return html_response(self._page_html(""))

    async def answer_person(self, request: Request) -> Response:
        """The form's answer: the page with the result or, for the page's script, the result alone."""
        tree = self.context.predictor.tree
        async with request.form(**_FORM_LIMITS) as form:
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                prediction = await self._predict(request, form, Path(folder), self.context)
                result = result_html(prediction, Path(folder) / "result", tree.nodes, tree.edges)
        return JSONResponse({"html": result}) if wants_json(request) else html_response(self._page_html(result))

    async def answer_program(self, request: Request) -> Response:
        """The endpoint's answer: the content of prediction.json without its settings and without pictures."""
        async with request.form(**_FORM_LIMITS) as form:
            with tempfile.TemporaryDirectory(dir=self.folder) as folder:
                context = self.context._replace(pictures=False)
                prediction = await self._predict(request, form, Path(folder), context)
        del prediction["settings"]
        return JSONResponse(prediction)

    async def progress(self, request: Request) -> Response:
        """How far a job is; see ``PredictionQueue.progress``."""
        return JSONResponse(self.queue.progress(request.path_params["job"]))

    async def _predict(self, request: Request, form: FormData, folder: Path, context: PredictionContext) -> dict:
        """Predict the file or the sample of a form; the results go into ``folder``/result."""
        name, path = await self._input_of(form, folder)

        def work(report: Progress) -> dict:
            check_limits(path, self.limits)
            return predict(path, folder / "result", context, on_progress=report) | {"input": name}

        async def given_up() -> bool:
            return self.stopping() or await request.is_disconnected()

        return await self.queue.run(str(form.get("job") or secrets.token_hex(16)), work, given_up)

    async def _input_of(self, form: FormData, folder: Path) -> tuple[str, Path]:
        """(name, file) of what a form asks about. An upload is written into ``folder``."""
        upload, sample = form.get("file"), form.get("sample")
        if isinstance(upload, UploadFile) and upload.filename:
            path = folder / file_name(upload.filename)
            with path.open("wb") as file:
                await run_in_threadpool(shutil.copyfileobj, upload.file, file)
            return upload.filename, path
        if sample in self.samples:
            return str(sample), self.samples[sample]
        if "sample" in form:
            raise HTTPException(400, "choose a photograph or a video first")
        raise HTTPException(400, "send a photograph or a video in the form field 'file'")

    def _page_html(self, result: str) -> str:
        settings = self.context.settings
        low, high = settings["band"]
        made_with = [
            Path(settings["checkpoint"]).name,
            f"faces by {settings['detector']}",
            f"{settings['n_frames']} frames of a video",
            f"fake from {high:g}" if low == high else f"uncertain from {low:g} to {high:g}",
            "calibrated" if settings["temperature"] is not None else "not calibrated",
        ]
        return page_html(result=result, samples=sorted(self.samples), limits=self.limits, made_with=made_with)


def file_name(name: str) -> str:
    """The last part of a name that a client sent, as a file name that every system takes."""
    last = re.split(r"[/\\]", name)[-1]
    return "upload_" + re.sub(r"[^A-Za-z0-9_.-]", "_", last)[-100:]


def check_limits(path: Path, limits: Limits) -> None:
    """Raises HTTPException for a file that is too large and for a video that is too long."""
    if path.stat().st_size > limits.max_bytes:
        raise HTTPException(413, too_large(limits.max_bytes))
    try:
        seconds = count_frames(path) / frame_rate(path) if open_source(path).photo is None else 0
    except (PhotoError, VideoError):
        return  # the prediction says why it cannot be read
    if seconds > limits.max_seconds:
        raise HTTPException(
            413,
            f"the video has {seconds:.0f} s, the page takes {limits.max_seconds:g} s; cut it, or start the page with "
            "another --max_seconds",
        )


async def _http_error(request: Request, error: HTTPException) -> Response:
    return error_response(request, error.status_code, error.detail)


async def _user_error(request: Request, error: UserError) -> Response:
    return error_response(request, 500, str(error))


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return error_response(request, 503, "the page is closing")  # unless the client is gone, and nobody reads it


async def _failure(request: Request, error: Exception) -> Response:
    return error_response(request, 500, "the page failed; its terminal says why")
