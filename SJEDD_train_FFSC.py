"""Train SJEDD on FFSC lists: the 12-node tree and the paper's settings for it; all else as in SJEDD_train_FFpp.py."""

import sys
from collections.abc import Sequence

from models.label_tree import FFSC
from SJEDD_train_FFpp import train
from utils.cli import script


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Train on FFSC lists; see --help."""
    train(argv, FFSC, __doc__, aug_probs=0.36)


if __name__ == "__main__":
    sys.exit(main())
