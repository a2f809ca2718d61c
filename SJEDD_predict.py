"""Judge photographs and videos: for each person P(fake), what was altered, and where.

P(fake) is the probability of fake. For a person it is the mean over the used frames, for an input the largest over its
people. Each input gets a folder in --output with prediction.json, the annotated photograph or video (without sound),
heat maps and timelines; predictions.csv has a row per input. An input is skipped if its prediction.json was made from
the same file with the same settings.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from prediction.options import add_prediction_options, parse_prediction_args
from utils.cli import ArgumentParser, script

_INPUT = "photographs, videos, folders of them, .txt files with one path per line"
_JSON = "print each prediction as a line of JSON; messages go to standard error"


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, nargs="+", required=True, metavar="PATH", help=_INPUT)
    parser.add_argument("--output", default="output/SJEDD_predict", help="folder for the results")
    add_prediction_options(parser)
    results = parser.add_argument_group("results")
    results.add_argument("--no_pictures", action="store_true", help="write prediction.json and predictions.csv only")
    results.add_argument("--json", choices=("-",), help=_JSON)
    return parser


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Predict; see --help."""
    args = parse_prediction_args(get_args_parser(), argv)
    from prediction.pipeline import predict_all

    predict_all(args)


if __name__ == "__main__":
    sys.exit(main())
