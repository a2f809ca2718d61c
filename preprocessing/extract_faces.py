"""Raw videos -> aligned face crops, and a manifest that says what became of every wanted frame.

python preprocessing/extract_faces.py --dataset FFpp --data_root data --compression c23
python preprocessing/extract_faces.py --dataset videos --video_path DIR --save_path DIR

Crops go to <faces>/<video>/%04d.png; the number is the frame's index in its video. A second run with the same options
does what is missing. A run can be stopped at any time, and several runs may work in one place.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root instead of this script's folder

from preprocessing.extraction.options import parse_args
from utils.cli import script


@script
def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    from preprocessing.extraction.run import run

    run(args)


if __name__ == "__main__":
    sys.exit(main())
