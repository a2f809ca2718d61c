"""Train SJEDD on FF++ lists: CLIP joint embedding, label tree, fidelity losses, auto-lambda task weighting."""

import sys
from collections.abc import Sequence

from training.options import parse_args
from utils.cli import script


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Train on FF++ lists; see --help."""
    args = parse_args(argv, __doc__)
    from models.label_tree import FFPP
    from training.run import train

    train(args, FFPP)


if __name__ == "__main__":
    sys.exit(main())
