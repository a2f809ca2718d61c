"""A web page for SJEDD_predict.py: choose a photograph or a video, see the verdict, its explanation and pictures.

Only this machine (127.0.0.1) can use the page unless --host says otherwise. It needs no internet and keeps nothing:
uploads and results are removed after the answer, those of a killed page when the next one starts.

Programs send a file to /predict and get the content of prediction.json, without settings and pictures:
curl -F file=@clip.mp4 http://127.0.0.1:7860/predict
Errors have a status of 400 or more and the content {"error": "..."}.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from prediction.options import add_prediction_options, parse_prediction_args
from utils.cli import ArgumentParser, UserError, port, positive_float, script


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: open to other machines")
    parser.add_argument("--port", type=port, default=7860, help="port to listen at")
    parser.add_argument("--max_mb", type=positive_float, default=200, help="largest upload, MB")
    parser.add_argument("--max_seconds", type=positive_float, default=120, help="longest video, s")
    parser.add_argument("--time_limit", type=positive_float, default=300, help="longest work on a file, s")
    samples = "photographs, videos, or folders of them, offered on the page as examples"
    parser.add_argument("--samples", type=Path, nargs="+", default=[], metavar="PATH", help=samples)
    add_prediction_options(parser)
    return parser


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Serve the page until Ctrl-C; see --help."""
    args = parse_prediction_args(get_args_parser(), argv)
    try:
        from prediction.web.server import serve
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise UserError(f"the page needs {package}; pip install -r requirements-app.txt") from error
    serve(args)


if __name__ == "__main__":
    sys.exit(main())
