"""FaceForensics++: folder names, list codes of each manipulation, and the pairs of its official split files."""

from pathlib import Path

from utils.cli import UserError
from utils.files import read_json

REAL_CODE = "1000000000"
# Manipulation folder -> list code (the order of digits is explained in models/label_tree.py).
METHOD_CODES = {
    "Deepfakes": "0101011111",
    "Face2Face": "0110001100",
    "FaceSwap": "0101011111",
    "NeuralTextures": "0110001100",
}
# Region transplanted from a fake onto its real frame by the data set expansion -> list code.
REGION_CODES = {"eyes": "0100110000", "nose": "0100100010", "mouth": "0100101100"}
SPLITS = ("train", "val", "test")


def ffpp_root(data_root: Path) -> Path:
    """The FF++ folder: ``data_root``/FF++, or ``data_root`` itself when it is the one."""
    data_root = Path(data_root)
    return data_root if (data_root / "original_sequences").is_dir() else data_root / "FF++"


def compression_dir(data_root: Path, method: str, compression: str) -> Path:
    """``method`` is "real" or the folder of a manipulation; returns the folder that holds ``videos`` and ``faces``."""
    root = ffpp_root(data_root)
    if method == "real":
        return root / "original_sequences" / "youtube" / compression
    return root / "manipulated_sequences" / method / compression


def read_pairs(data_root: Path, split: str) -> list[tuple[str, str]]:
    """The pairs (a, b) of FF++/<split>.json: reals a and b, fakes a_b and b_a of every method.

    Raises UserError when the file is missing or is not a list of pairs.
    """
    path = ffpp_root(data_root) / f"{split}.json"
    if not path.is_file():
        raise UserError(f"{path} is missing; put the official FF++ split files there or set --data_root")
    pairs = read_json(path)
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_video_name, pair)) for pair in pairs
    ):
        raise UserError(f'{path} must be a list of pairs such as [["000", "003"]]; download the official file again')
    return [(a, b) for a, b in pairs]


def _is_video_name(value: object) -> bool:
    """Whether it is text that can name a file in a folder, and no other place."""
    return isinstance(value, str) and value not in ("", ".", "..") and not {"/", "\\", "\0"} & set(value)


def split_names(data_root: Path, split: str) -> tuple[list[str], list[str]]:
    """(reals a, fakes a_b and b_a) of a split's pairs, each sorted and once."""
    pairs = read_pairs(data_root, split)
    reals = sorted({name for pair in pairs for name in pair})
    return reals, sorted({f"{a}_{b}" for pair in pairs for a, b in (pair, pair[::-1])})


def split_videos(data_root: Path, split: str) -> list[tuple[str, str]]:
    """(method, video) of every video of a split: reals first, then method by method, each sorted by name."""
    reals, fakes = split_names(data_root, split)
    return [("real", video) for video in reals] + [(method, video) for method in METHOD_CODES for video in fakes]
