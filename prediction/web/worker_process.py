"""What the process of a Worker does: check the files of its tasks, and predict them."""

import argparse
import os
import queue
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from prediction.context import PredictionContext, build_context
from prediction.people import open_source
from prediction.pipeline import predict
from prediction.web.worker import Limits, Made, Progress, Refusal, Task
from preprocessing.extraction.photos import PhotoError
from preprocessing.extraction.video import VideoError, count_frames, frame_rate, frame_size
from utils.cli import UserError
from utils.stopping import ignore_stop_signals

_MAX_SIDES = (4096, 2304)  # px of a video's frame, the longer and the shorter side: 4K
_MAX_GIGAPIXELS = 10  # frames x pixels of a video: 120 s of 1080p at 40 frames/s, 40 s of 4K at 30

_Tasks = queue.SimpleQueue[tuple[Task, threading.Event]]  # the event: nobody waits for the result


class Refused(Exception):
    """A file that the page does not take. The argument is a Refusal."""


class Stopped(Exception):
    """Raised inside a prediction that nobody waits for."""


def work(connection: Connection, args: argparse.Namespace) -> None:
    """Do tasks until the page closes its end of the connection, or is gone. args: the options of SJEDD_app.py."""
    ignore_stop_signals()
    try:
        context = build_context(args, pictures=True)
    except UserError as error:
        connection.send(str(error))
        return
    connection.send((context.predictor.tree, context.settings))
    tasks: _Tasks = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, tasks), daemon=True).start()
    while True:
        _send(connection, _result(*tasks.get(), context, connection))


def _send(connection: Connection, message: Progress | Made | Refusal) -> None:
    """Send a message. End the process at once if the page is gone."""
    try:
        connection.send(message)
    except OSError:
        os._exit(0)


def _listen(connection: Connection, tasks: _Tasks) -> None:
    """Receive tasks, and None to stop the last one. End the process at once if the page is gone."""
    stopped = threading.Event()
    while True:
        try:
            message = connection.recv()
        except (EOFError, OSError):
            os._exit(0)
        if message is None:
            stopped.set()
        else:
            stopped = threading.Event()
            tasks.put((message, stopped))


def _result(task: Task, stopped: threading.Event, context: PredictionContext, connection: Connection) -> Made | Refusal:
    def report(step: str, share: float) -> None:
        if stopped.is_set():
            raise Stopped
        _send(connection, Progress(step, share))

    try:
        check_limits(task.path, task.limits)
        context = context._replace(pictures=task.pictures)
        return Made(predict(task.path, task.folder, context, on_progress=report))
    except Refused as refused:
        (refusal,) = refused.args
        return refusal
    except UserError as error:
        return Refusal(500, str(error))
    except Stopped:
        return Refusal(503, "nobody waits for it")


def check_limits(path: Path, limits: Limits) -> None:
    """Look at a file's size and headers; decodes no video. Raises Refused if the file is beyond a limit."""
    if path.stat().st_size > limits.max_bytes:
        raise Refused(Refusal(413, limits.too_large))
    try:
        if open_source(path).photo is not None:
            return
        width, height = sides = frame_size(path)
        if max(sides) > _MAX_SIDES[0] or min(sides) > _MAX_SIDES[1]:
            most = "the page takes {}x{}".format(*_MAX_SIDES)
            raise Refused(Refusal(413, f"its frames have {width}x{height} px, {most}; make them smaller"))
        frames = count_frames(path)
        seconds, gigapixels = frames / frame_rate(path), frames * width * height / 1e9
    except (PhotoError, VideoError):
        return  # the prediction says why it cannot be read
    if seconds > limits.max_seconds:
        most = f"the page takes {limits.max_seconds:g} s; cut it, or start the page with another --max_seconds"
        raise Refused(Refusal(413, f"the video has {seconds:.0f} s, {most}"))
    if gigapixels > _MAX_GIGAPIXELS:
        what = f"{frames} frames of {width}x{height} px are {gigapixels:.1f} billion pixels"
        raise Refused(Refusal(413, f"{what}, the page takes {_MAX_GIGAPIXELS}; cut the video or make it smaller"))
