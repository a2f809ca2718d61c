"""FaceForensics++ test set: crops in the official layout, videos of the official split file.

Its reals are those of FaceShifter and DeeperForensics too, whose fakes lie elsewhere.
"""

from collections.abc import Sequence
from pathlib import Path

from datasets.readers.ffpp_methods import METHOD_CODES, REAL_CODE, compression_dir, ffpp_root, split_videos
from datasets.readers.txt_list import CodeBook
from datasets.records import DataSet, node_code, video_folders_to_dataset
from utils.cli import UserError


def read_ffpp(
    data_root: Path, tree: CodeBook | None, n_frames: int, compression: str = "c23", split: str = "test"
) -> DataSet:
    """Reals and the four methods' fakes of ``split``. Video ids are real/<a> and <method>/<a>_<b>.

    data_root: the folder that holds FF++/, or FF++/ itself.
    tree: the FF++ tree gives records their node codes; None (another tree's model) leaves them empty.
    """
    videos = []
    for method, video in split_videos(data_root, split):
        code = REAL_CODE if method == "real" else METHOD_CODES[method]
        folder = compression_dir(data_root, method, compression) / "faces" / video
        vector = node_code(tree.encode(code)) if tree else ""
        videos.append((f"{method}/{video}", folder, int(method != "real"), vector, method))
    return video_folders_to_dataset("FFpp", videos, n_frames, f"{ffpp_root(data_root)}/.../{compression}/faces")


def fakes_beside_reals(
    name: str,
    method: str,
    faces: Path,
    fakes: Sequence[str],
    reals: Sequence[str],
    data_root: Path,
    compression: str,
    n_frames: int,
) -> DataSet:
    """Fakes of FF++ videos, with crops in ``faces``/<fake>, and FF++'s reals under ``data_root``.

    Video ids are <method>/<fake> and real/<a>. UserError when all crops of a class are missing.
    """
    real_faces = compression_dir(data_root, "real", compression) / "faces"
    videos = [(f"real/{video}", real_faces / video, 0, "", "real") for video in reals]
    videos += [(f"{method}/{video}", faces / video, 1, "", method) for video in fakes]
    data = video_folders_to_dataset(name, videos, n_frames, f"{faces} and {real_faces}")
    labels = {record.label for record in data.records}
    if 1 not in labels:
        raise UserError(f"{name}: no face crops of its fakes under {faces}; extract them or set --datapath")
    if 0 not in labels:
        raise UserError(f"{name}: its reals are FF++'s, but {real_faces} has no crops of them; extract them first")
    return data
