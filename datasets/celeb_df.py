"""Celeb-DF v2: crops under faces/RealCDF/<video> and faces/FakeCDF/<video>, 518 test videos in the official list."""

from pathlib import Path

from datasets.records import DataSet, video_folders_to_dataset
from utils.cli import UserError

_LIST = "List_of_testing_videos.txt"
_CLASSES = {"RealCDF": (0, "real"), "FakeCDF": (1, "Celeb-synthesis")}


def read_celeb_df(root: Path, n_frames: int) -> DataSet:
    """The test set under ``root``: the folder with RealCDF and FakeCDF, or the data set's own folder (with faces/).

    With List_of_testing_videos.txt beside the crops (or in the data set's folder) exactly its videos are tested;
    without it every video folder is. Video ids are RealCDF/<video> and FakeCDF/<video>.
    """
    root = Path(root)
    faces = root if any((root / name).is_dir() for name in _CLASSES) else root / "faces"
    wanted = _listed_videos(next((f / _LIST for f in (root, faces.parent) if (f / _LIST).is_file()), None))
    if wanted is None:
        wanted = [(name, folder.name) for name in _CLASSES for folder in _subfolders(faces / name)]
    videos = [
        (f"{name}/{video}", faces / name / video, _CLASSES[name][0], "", _CLASSES[name][1]) for name, video in wanted
    ]
    return video_folders_to_dataset("CDF", videos, n_frames, f"{faces}/RealCDF and {faces}/FakeCDF")


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def _listed_videos(path: Path | None) -> list[tuple[str, str]] | None:
    """[(RealCDF or FakeCDF, video)] of the official list, whose first column is 1 for REAL; None without a list."""
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} ({error}); download the official list again") from error
    videos = []
    for number, line in enumerate(lines, start=1):
        parts = line.split(maxsplit=1)
        if not parts:
            continue
        if len(parts) != 2 or parts[0] not in ("0", "1"):
            raise UserError(
                f"{path}:{number}: expected `1 folder/video.mp4` or `0 ...`; download the official list again"
            )
        videos.append(("RealCDF" if parts[0] == "1" else "FakeCDF", Path(parts[1]).stem))
    return list(dict.fromkeys(videos))
