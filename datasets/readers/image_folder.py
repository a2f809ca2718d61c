"""Folders named after their class: real/ and fake/, or 0_real/ and 1_fake/, in any case."""

from pathlib import Path

from datasets.crop_manifest import UNFINISHED, unfinished
from datasets.data_set_format import DataSetFormat
from datasets.records import DataSet, Dropped, Record, evenly_spaced, folder_ids, images_below, subfolders
from utils.cli import UserError

_CLASSES = {"real": 0, "fake": 1, "0_real": 0, "1_fake": 1}


def read_image_folder(root: Path, n_frames: int) -> DataSet:
    """Read the images below the class folders of ``root``.

    An image directly in a class folder counts for itself. A folder of images below it, at any depth, is a video, of
    which ``n_frames`` evenly spaced frames are taken. Its id is its folder relative to the deepest folder that all
    images share. A video whose extraction did not end is dropped.
    """
    root = Path(root)
    videos: dict[str, list[str]] = {}  # folder -> images
    labels: dict[str, int] = {}
    class_names = [name for name in subfolders(root) if name.lower() in _CLASSES]
    class_folders = {str((root / name).absolute()) for name in class_names}
    for name in class_names:
        for image in images_below(root / name):
            folder = str(Path(image).absolute().parent)
            videos.setdefault(folder, []).append(image)
            labels[folder] = _CLASSES[name.lower()]
    if not videos:
        raise UserError(f"{root} holds no images in real/ and fake/ or in 0_real/ and 1_fake/; set --datapath")
    ids = folder_ids(videos)
    records, dropped = [], []
    half_done = unfinished(map(Path, videos))
    for folder, images in videos.items():
        label, method = labels[folder], "" if labels[folder] else "real"
        if Path(folder) in half_done:
            dropped.append(Dropped(ids[folder], "", label, UNFINISHED))
        elif folder in class_folders:
            records += [Record(image, image, label, "", method) for image in images]
        else:
            records += [Record(image, ids[folder], label, "", method) for image in evenly_spaced(images, n_frames)]
    if not records:
        raise UserError(f"{root}: no video is left ({UNFINISHED}); run preprocessing/extract_faces.py again")
    return DataSet("folder", records, dropped, str(root), None if class_folders >= videos.keys() else n_frames)


FORMAT = DataSetFormat(
    read=lambda o: read_image_folder(o.given_path, o.frames_per_video),
    needs_datapath="DIR, the folder that holds real/ and fake/",
)
