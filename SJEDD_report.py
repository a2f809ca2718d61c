"""Report the metrics of predictions files under four conventions, with plots and an HTML page; or calibrate.

It reads predictions.csv of SJEDD_test.py, and any CSV with path or video, label and a score. Labels are 0 or real, 1 or
fake; a higher score means more fake. Several files are compared with the first one, on common videos.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from models.choices import CALIBRATIONS
from utils.cli import ArgumentParser, probability, script

_FILES = "predictions.csv of SJEDD_test.py (or its folder), or another system's CSV"
_SUMMARY = "only print the main figures of one test and write summary.png into its folder; needs no --output"
_THRESHOLD = "decision threshold from validation, beside 0.5 (default: the one in the metrics.json beside each file)"
_CALIBRATE_BY = "how --calibrate maps log-odds to P(fake) (default: temperature); see docs/reporting.md"
_IMAGES = "pictures of faces are shown from this folder only: no file can put another of your pictures into a report"
_COLUMNS = "With several files, a file without the given column is read by the usual name."


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE.csv", help=_FILES)
    add("--output", metavar="DIR", help="folder for report.html, report.json and PNGs")
    add("--images", type=Path, default=Path("data"), metavar="DIR", help=_IMAGES)
    add("--summary", action="store_true", help=_SUMMARY)
    add("--seeds", action="store_true", help="the files are seeds of one setting: report mean and standard deviation")
    add("--threshold", type=probability, help=_THRESHOLD)
    add("--calibrate", action="store_true", help="only fit a calibration on one file, for calibration.json in --output")
    add("--calibrate_by", choices=CALIBRATIONS, help=_CALIBRATE_BY)
    add = parser.add_argument_group("columns of another system's file", _COLUMNS).add_argument
    add("--score_column", default="p_fake", help="score, higher means more fake")
    add("--label_column", default="label", help="0 or real, 1 or fake")
    add("--path_column", help="image path (default: path, if there is one)")
    add("--video_column", help="video id (default: video, else the image's folder)")
    return parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; refuse options that contradict each other."""
    parser = get_args_parser()
    args = parser.parse_args(argv)
    if not args.output and not args.summary:
        parser.error("--output DIR is missing; only --summary needs none")
    if len(set(args.files)) < len(args.files):
        parser.error("a file is given twice; name it once")
    if args.seeds and len(args.files) < 2:
        parser.error("--seeds needs at least two files, one per seed")
    if args.calibrate and (len(args.files) > 1 or args.seeds or args.threshold is not None):
        parser.error("--calibrate takes one file and neither --seeds nor --threshold")
    if args.calibrate_by and not args.calibrate:
        parser.error("--calibrate_by says how --calibrate works; give both")
    args.calibrate_by = args.calibrate_by or "temperature"
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
