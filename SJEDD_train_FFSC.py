"""Train SJEDD on FFSC lists: its 12-node label tree, all else as in SJEDD_train_FFpp.py."""

import sys
from collections.abc import Sequence

from training.options import parse_args
from utils.cli import script


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Train on FFSC lists; see --help."""
    args = parse_args(argv, __doc__)
    from models.label_tree import FFSC
    from training.run import train

    train(args, FFSC)


if __name__ == "__main__":
    sys.exit(main())
