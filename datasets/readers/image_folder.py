"""Folders named after their class: real/ and fake/, or 0_real/ and 1_fake/, in any case.

Where there is no fake/, each folder beside real/ holds the fakes of one method: real/, DF/, F2F/.
"""

import os
from collections.abc import Collection
from pathlib import Path

from datasets.crop_manifest import UNFINISHED, unfinished
from datasets.data_set_format import DataSetFormat
from datasets.records import DataSet, Dropped, Record, evenly_spaced, folder_ids, images_below, list_images, subfolders
from utils.cli import UserError

CLASSES = {"real": 0, "fake": 1, "0_real": 0, "1_fake": 1}


def read_image_folder(root: Path, n_frames: int) -> DataSet:
    """Read the images below the class or method folders of ``root``.

    An image directly in such a folder counts for itself. A folder of images below it, at any depth, is a video, of
    which ``n_frames`` evenly spaced frames are taken. Its id is its folder relative to the deepest folder that all
    images share. A video whose extraction did not end is dropped. A real folder with several names (links) is read
    once. The notes name the methods, and the folders of images that are not read.

    Raises:
        UserError: There are no images in class folders, or a link puts a folder of images into both classes.
    """
    root = Path(root)
    classes = _class_folders(root)
    class_folders = {str((root / name).absolute()) for name in classes}
    real_root = Path(os.path.realpath(root))
    never_below = {*map(str, (real_root, *real_root.parents)), *map(os.path.realpath, class_folders)}
    videos: dict[str, list[str]] = {}  # folder -> images
    meanings: dict[str, tuple[int, str]] = {}  # folder -> label, method
    folder_of: dict[str, str] = {}  # real folder -> folder
    notes = []
    for name, meaning in classes.items():
        for image in images_below(root / name, never_below):
            folder = str(Path(image).absolute().parent)
            videos.setdefault(folder, []).append(image)
            meanings[folder] = meaning
    for folder in list(videos):
        known = folder_of.setdefault(os.path.realpath(folder), folder)
        if meanings[known][0] != meanings[folder][0]:
            raise UserError(f"{known} and {folder} are one folder, so it is real and fake; move the link away")
        if known != folder:
            notes.append(f"{folder} is {known} again, by a link: its {len(videos.pop(folder))} images are read once")
    if not videos:
        wanted = "real/ and fake/ or in 0_real/ and 1_fake/, nor in real/ and a folder per method"
        raise UserError(f"{root} holds no images in {wanted}; set --datapath")
    if methods := [method for label, method in classes.values() if label and method]:
        notes.append(
            f"no fake/ beside real/: each other folder of images is a method of the fakes: {', '.join(methods)}"
        )
    notes += _not_read(root, classes, never_below | folder_of.keys())
    ids = folder_ids(videos)
    records, dropped = [], []
    half_done = unfinished(map(Path, videos))
    for folder, images in videos.items():
        label, method = meanings[folder]
        if Path(folder) in half_done:
            dropped.append(Dropped(ids[folder], "", label, UNFINISHED))
        elif folder in class_folders:
            records += [Record(image, image, label, "", method) for image in images]
        else:
            records += [Record(image, ids[folder], label, "", method) for image in evenly_spaced(images, n_frames)]
    if not records:
        raise UserError(f"{root}: no video is left ({UNFINISHED}); run preprocessing/extract_faces.py again")
    n_frames_of_videos = None if class_folders >= videos.keys() else n_frames
    return DataSet("folder", records, dropped, str(root), n_frames_of_videos, notes)


def _class_folders(root: Path) -> dict[str, tuple[int, str]]:
    """Folder in ``root`` -> (label, method); "" for fakes of any method."""
    names = subfolders(root)
    classes = {name: CLASSES[name.lower()] for name in names if name.lower() in CLASSES}
    meanings = {name: (label, "" if label else "real") for name, label in classes.items()}
    if set(classes.values()) == {0}:
        meanings |= {name: (1, name) for name in names if name not in classes and images_below(root / name)}
    return meanings


def _not_read(root: Path, classes: Collection[str], read: Collection[str]) -> list[str]:
    """A line that names the folders of images in ``root``, and ``root`` itself, if they are not read."""
    names = [name for name in subfolders(root) if name not in classes and os.path.realpath(root / name) not in read]
    counts = {f"{name}/": len(images_below(root / name, read)) for name in names}
    counts[f"{root} itself"] = len(list_images(root))
    named = [f"{name} ({count} images)" for name, count in counts.items() if count]
    return [f"not read, because they are no class folders: {', '.join(named)}"] if named else []


FORMAT = DataSetFormat(
    read=lambda o: read_image_folder(o.given_path, o.frames_per_video),
    needs_datapath="DIR, the folder that holds real/ and fake/, or real/ and a folder per method",
)
