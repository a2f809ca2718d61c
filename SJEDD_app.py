"""A web page over SJEDD_predict.py: drop a photograph or a video, get the verdict, its explanation and pictures.

The page is for this machine (127.0.0.1) unless --host says otherwise. It asks nothing of the internet and keeps
nothing: uploads and results are removed when the answer is given, what a killed page left when the next one starts.
Programs use the endpoint /predict.
"""

import atexit
import errno
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from models.label_tree import TREES
from prediction.options import add_prediction_options, parse_prediction_args
from prediction.web.scratch import scratch_folder
from preprocessing.extraction.options import DETECTORS
from utils.cli import ArgumentParser, UserError, answer_first, port, positive_float, script


def get_args_parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: all of this machine")
    parser.add_argument("--port", type=port, default=7860, help="port to listen at")
    parser.add_argument("--max_mb", type=positive_float, default=200, help="largest upload")
    parser.add_argument("--max_seconds", type=positive_float, default=120, help="longest video")
    parser.add_argument("--samples", type=Path, nargs="+", default=[], metavar="PATH", help="photographs and videos, "
                        "or folders of them, to choose from on the page")  # fmt: skip
    add_prediction_options(parser, TREES, DETECTORS)
    return parser


answer_first(__name__, get_args_parser)

SCRATCH = ExitStack()  # ends with the page, or the process
atexit.register(SCRATCH.close)
PLACE = SCRATCH.enter_context(scratch_folder("sjedd_app_"))  # of uploads and results
os.environ["GRADIO_TEMP_DIR"] = str(PLACE)
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = os.environ["HF_HUB_OFFLINE"] = "1"

from prediction.web.result_page import EMPTY, STYLE, message_html, prediction_html
from prediction.web.route_guard import PageGuard
from preprocessing.extraction.photos import PhotoError, find_inputs
from preprocessing.extraction.video import VideoError, count_frames, frame_rate
from SJEDD_predict import PredictionContext, build_context, open_source, predict

try:
    import gradio as gr
    from starlette.middleware import Middleware

    from prediction.web.gradio_parts import check_gradio, replace_parts
except ImportError as error:
    raise SystemExit(f"error: {error}; the page needs Gradio: pip install -r requirements-app.txt") from error

ABOUT = (
    "A score of one detector, not proof. It knows the manipulations of its training data; others, heavy compression, "
    "filters and make-up can mislead it both ways. Do not accuse, publish or decide about anyone by it alone."
)
MOST_SAMPLES = 200
LOCAL = ("127.0.0.1", "localhost", "::1")
KEPT = 3600  # seconds that an upload waits for its request


def check_port(host: str, port: int) -> None:
    """UserError for a port that another program has, there or at 127.0.0.1, where Gradio tries it whatever the host."""
    for place in (host, "127.0.0.1"):
        try:
            for family, kind, protocol, _, address in socket.getaddrinfo(place, port, type=socket.SOCK_STREAM):
                with socket.socket(family, kind, protocol) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(address)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):  # of others the server tells
                raise UserError(f"cannot listen at {place}:{port} ({error.strerror}); give another --port") from error


def check_size(path: Path, max_mb: float, max_seconds: float) -> None:
    """UserError for a file that is larger, or a video that is longer, than the page takes."""
    size = path.stat().st_size / 2**20
    if size > max_mb:
        raise UserError(f"the file has {size:.1f} MB, the page takes {max_mb:g} MB; cut it, or start the page with "
                        "another --max_mb")  # fmt: skip
    try:
        if open_source(path).photo is None and (seconds := count_frames(path) / frame_rate(path)) > max_seconds:
            raise UserError(f"the video has {seconds:.0f} s, the page takes {max_seconds:g} s; cut it, or start the "
                            "page with another --max_seconds")  # fmt: skip
    except (PhotoError, VideoError):
        pass  # the prediction tells


@contextmanager
def of_one_request(upload: Path, place: Path) -> Iterator[Path]:
    """A folder in ``place`` for the results of one request; it and the upload are removed at the end. gr.Error for no
    upload."""
    if not upload.is_file():
        raise gr.Error("the upload is no longer here, an answer removes it; choose it again", print_exception=False)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        try:
            yield Path(folder)
        finally:
            if upload.parent.parent == place:
                shutil.rmtree(upload.parent)


def sweep(place: Path, seconds: float) -> None:
    """Remove what has lain in a folder for so long: uploads that nobody asked a verdict of."""
    for path in place.iterdir():
        with suppress(FileNotFoundError):  # an answer removes its own
            if time.time() - path.stat().st_mtime > seconds:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def build_page(
    kit: PredictionContext, samples: dict[str, Path], place: Path, max_mb: float, max_seconds: float
) -> gr.Blocks:
    """The page and its endpoint. place: folder of uploads. One prediction runs at a time; the others wait in line."""
    tree = kit.predictor.tree

    def look(path: Path, kit: PredictionContext, folder: Path, step: Callable[[str, float], object]) -> dict:
        check_size(path, max_mb, max_seconds)
        return predict(path, folder, kit, step=step) | {"input": path.name}

    def show(upload: str | None, sample: str | None, progress: gr.Progress = gr.Progress()) -> tuple[None, str]:  # noqa: B008 - how Gradio hands it over
        if upload is None and sample is None:
            return None, message_html("choose a photograph or a video first")
        path = samples[sample] if upload is None else Path(upload)
        with of_one_request(path, place) as folder:
            try:
                words = {"faces": "looking for faces", "pictures": "drawing"}
                prediction = look(path, kit, folder / "result", lambda what, share: progress(share, desc=words[what]))
            except UserError as error:
                return None, message_html(str(error))
            return None, prediction_html(prediction, folder / "result", tree.nodes, tree.edges)

    def answer(upload: str | None) -> dict:
        if upload is None:
            raise gr.Error("send a file", print_exception=False)
        path, bare = Path(upload), kit._replace(pictures=False)
        with of_one_request(path, place) as folder:
            try:
                prediction = look(path, bare, folder / "result", lambda what, share: None)
            except UserError as error:
                raise gr.Error(str(error), print_exception=False) from error
        del prediction["settings"]
        return prediction

    one_at_a_time = {"concurrency_limit": 1, "concurrency_id": "model"}
    with gr.Blocks(title="SJEDD", analytics_enabled=False) as page:
        gr.Markdown(f"# Is this face real?\nDrop a photograph or a video (at most {max_seconds:g} s, {max_mb:g} MB). "
                    "Every person in it gets a verdict. Nothing is kept.")  # fmt: skip
        file = gr.File(label="Photograph or video", height=150)
        sample = gr.Dropdown(sorted(samples), label="or a sample", value=None, visible=bool(samples))
        button = gr.Button("Look at it", variant="primary")
        result = gr.HTML(EMPTY)
        gr.Markdown(f"<small>{ABOUT}<br>{settings_line(kit)}</small>")
        button.click(
            show, [file, sample], [file, result], show_progress_on=result, api_visibility="private", **one_at_a_time
        )
        machine, json = gr.Button(visible=False), gr.JSON(visible=False)
        machine.click(answer, [file], [json], api_name="predict", **one_at_a_time)
    replace_parts(page)
    return page


def settings_line(kit: PredictionContext) -> str:
    """What the verdicts are made with."""
    settings, (low, high) = kit.settings, kit.settings["band"]
    calibrated = "calibrated" if settings["temperature"] is not None else "not calibrated"
    name = re.sub(r"[^\w.-]", "_", Path(settings["checkpoint"]).name)
    limits = f"fake from {high:g}" if low == high else f"uncertain from {low:g} to {high:g}"
    return f"{name}, faces by {settings['detector']}, {settings['n_frames']} frames of a video, {limits}, {calibrated}."


def samples_by_name(paths: Sequence[Path]) -> dict[str, Path]:
    """Name on the page -> file. UserError when there are too many to choose from."""
    found = find_inputs(paths) if paths else []
    if len(found) > MOST_SAMPLES:
        raise UserError(f"--samples: {len(found)} files are too many to choose from; name at most {MOST_SAMPLES}")
    names = {path.name: path for path in found}
    return names if len(names) == len(found) else {str(path): path for path in found}


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Serve the page until Ctrl-C; see --help."""
    args = parse_prediction_args(get_args_parser(), argv)
    samples = samples_by_name(args.samples)
    check_gradio()
    check_port(args.host, args.port)
    with SCRATCH:
        kit = build_context(args, pictures=True)
        page = build_page(kit, samples, PLACE, args.max_mb, args.max_seconds)
        largest, local = int(args.max_mb * 2**20), args.host in LOCAL
        guard = Middleware(PageGuard, largest=largest, local=local)
        theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
        try:
            _, address, _ = page.launch(
                server_name=args.host, server_port=args.port, max_file_size=largest, state_session_capacity=20,
                app_kwargs={"middleware": [guard]}, theme=theme, css=STYLE, footer_links=[],
                prevent_thread_lock=True, quiet=True, ssr_mode=False, run_history=False, share=False,
            )  # fmt: skip
        except OSError as error:
            raise UserError(f"cannot listen at {args.host}:{args.port}; give another --host or --port") from error
        if not local:
            print(f"note: everyone who reaches {args.host} can use the page", file=sys.stderr)
        print(f"{address} is ready; Ctrl-C ends it", flush=True)
        try:
            while True:
                time.sleep(60)
                sweep(PLACE, KEPT)
        finally:
            page.close()


if __name__ == "__main__":
    sys.exit(main())
