"""FaceForensics++ test set: crops in the official layout, videos of the official split file."""

from pathlib import Path

from datasets.ffpp_methods import METHOD_CODES, REAL_CODE, compression_dir, ffpp_root, split_videos
from datasets.records import DataSet, node_code, video_folders_to_dataset
from datasets.txt_list import CodeBook


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
