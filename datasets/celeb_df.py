"""Celeb-DF v2: crops under faces/RealCDF/<video> and faces/FakeCDF/<video>, 518 test videos in the official list."""

from pathlib import Path, PurePath

from datasets.records import DataSet, subfolders, video_folders_to_dataset
from utils.cli import UserError

LIST_NAME = "List_of_testing_videos.txt"
_CLASSES = {"RealCDF": (0, "real"), "FakeCDF": (1, "Celeb-synthesis")}


def read_celeb_df(root: Path, n_frames: int) -> DataSet:
    """The test set under ``root``: the folder with RealCDF and FakeCDF, or the data set's own folder (with faces/).

    With List_of_testing_videos.txt beside the crops (or in the data set's folder) exactly its videos are tested;
    without it every video folder is. Video ids are RealCDF/<video> and FakeCDF/<video>.
    """
    root = Path(root)
    faces = root if any((root / name).is_dir() for name in _CLASSES) else root / "faces"
    official = next((f / LIST_NAME for f in (root, faces.parent) if (f / LIST_NAME).is_file()), None)
    if official is None:
        wanted = [(name, video) for name in _CLASSES for video in subfolders(faces / name)]
    else:
        wanted = list(dict.fromkeys((name, PurePath(video).stem) for name, video in listed_videos(official)))
    videos = [
        (f"{name}/{video}", faces / name / video, _CLASSES[name][0], "", _CLASSES[name][1]) for name, video in wanted
    ]
    return video_folders_to_dataset("CDF", videos, n_frames, f"{faces}/RealCDF and {faces}/FakeCDF")


def listed_videos(path: Path) -> list[tuple[str, str]]:
    """[(RealCDF or FakeCDF, folder/video.mp4)] of the official list, whose first column is 1 for REAL."""
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
        videos.append(("RealCDF" if parts[0] == "1" else "FakeCDF", parts[1].strip()))
    return list(dict.fromkeys(videos))
