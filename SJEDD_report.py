"""Report on predictions: metrics under four conventions, plots, one HTML page. Or a summary, or a calibration.

Reads predictions.csv of SJEDD_test.py and any CSV with path or video, label and a score. Labels are 0 real, 1 fake
(or the words); a higher score means more fake. Several files are compared with the first on the videos they share.
"""

import argparse
import sys
from collections.abc import Sequence

from utils.cli import ArgumentParser, probability, script


def get_args_parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE.csv",
        help="predictions.csv of SJEDD_test.py (or its folder), or another system's CSV file",
    )
    parser.add_argument("--output", metavar="DIR", help="folder for report.html, report.json and PNGs")
    parser.add_argument(
        "--summary",
        action="store_true",
        help="instead of a report, print the main figures of one test's folder and write summary.png into it; needs no "
        "--output",
    )
    parser.add_argument(
        "--seeds", action="store_true", help="the files are seeds of one setting: give mean and standard deviation too"
    )
    parser.add_argument(
        "--threshold",
        type=probability,
        help="second decision threshold beside 0.5 (default: the one in the metrics.json beside each file)",
    )
    parser.add_argument(
        "--calibrate",
        action="store_true",
        help="instead of a report, fit a temperature on one file's logit_fake and write calibration.json into --output",
    )
    columns = parser.add_argument_group(
        "columns of another system's file", "if one of several files lacks the named column, the usual name is taken"
    )
    columns.add_argument("--score_column", default="p_fake", help="score, higher means more fake")
    columns.add_argument("--label_column", default="label", help="0 or real, 1 or fake")
    columns.add_argument("--path_column", help="image path (default: path, where there is one)")
    columns.add_argument("--video_column", help="video id (default: video, else the image's folder)")
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments; combinations that mean nothing are refused."""
    parser = get_args_parser()
    args = parser.parse_args(argv)
    if not args.output and not args.summary:
        parser.error("--output DIR is missing")
    if len(set(args.files)) < len(args.files):
        parser.error("a file is given twice")
    if args.seeds and len(args.files) < 2:
        parser.error("--seeds needs at least two files")
    if args.calibrate and (len(args.files) > 1 or args.seeds or args.threshold is not None):
        parser.error("--calibrate takes one file and neither --seeds nor --threshold")
    if args.summary and (len(args.files) > 1 or args.calibrate or args.threshold is not None):
        parser.error("--summary takes one folder and neither --calibrate nor --threshold")
    return args


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Make the report, the summary or the calibration; see --help."""
    args = parse_args(argv)
    from evaluation.report.report_run import run

    run(args)


if __name__ == "__main__":
    sys.exit(main())
