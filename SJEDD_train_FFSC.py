"""Train SJEDD on FFSC lists: the 12-node tree; all else as in SJEDD_train_FFpp.py."""

import sys
from collections.abc import Sequence
from functools import partial

from training.options import get_args_parser
from utils.cli import answer_first, script

answer_first(__name__, partial(get_args_parser, __doc__))

from models.label_tree import FFSC
from SJEDD_train_FFpp import train


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Train on FFSC lists; see --help."""
    train(argv, FFSC, __doc__)


if __name__ == "__main__":
    sys.exit(main())
