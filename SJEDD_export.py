"""Export a checkpoint as a folder that other programs load and the Hugging Face Hub takes as it is.

safetensors: model.safetensors, which --resume DIR loads everywhere. delta: delta.safetensors, only the weights that the
training changed; it loads where the others are. onnx: model.onnx, from pixels to P(fake) without PyTorch. All with
config.json (all settings) and README.md (a model card; choose the licence in its first lines).
"""

import sys
from collections.abc import Sequence

from models.label_tree import TREES
from utils.cli import ArgumentParser, folder_name, script

_TREE = "label tree of a checkpoint that does not name it (default: ffpp)"
_BASE = "with delta: the CLIP weights that the training started from; a checkpoint of --save delta names them itself"
_CALIBRATION = "calibration.json of SJEDD_report.py --calibrate, to be named in config.json and copied"


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--resume", metavar="CKPT", required=True, help="checkpoint, ours or a published one")
    add("--output", type=folder_name, required=True, metavar="DIR", help="folder to write; new or empty")
    add("--format", choices=("safetensors", "delta", "onnx"), nargs="+", default=["safetensors"], help="what to write")
    add("--base", metavar="FILE", help=_BASE)
    add("--train_dataset", choices=tuple(TREES), help=_TREE)
    add("--calibration", metavar="FILE", help=_CALIBRATION)
    return parser


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Export; see --help."""
    parser = get_args_parser()
    args = parser.parse_args(argv)
    if args.base and "delta" not in args.format:
        parser.error("--base is for --format delta; drop it, or add the format")
    from prediction.export.run import export

    export(args)


if __name__ == "__main__":
    sys.exit(main())
