"""Folders named after their class: real/ and fake/, or 0_real/ and 1_fake/, in any case."""

from pathlib import Path

from datasets.crop_manifest import UNFINISHED, unfinished
from datasets.data_set_format import DataSetFormat
from datasets.records import DataSet, Dropped, Record, evenly_spaced, folder_ids, images_below, subfolders
from utils.cli import UserError

_CLASSES = {"real": 0, "fake": 1, "0_real": 0, "1_fake": 1}


def read_image_folder(root: Path, n_frames: int) -> DataSet:
    """Read the images below the class folders of ``root``.

    An image directly in a class folder counts for itself. A folder below it that holds images, at any depth, is a
    video, of which ``n_frames`` evenly spaced frames are taken. Its id is its folder relative to the deepest folder all
    images share. A video whose extraction did not end is dropped.
    """
    root = Path(root)
    videos: dict[str, list[str]] = {}  # folder of images -> its images
    labels: dict[str, int] = {}
    alone = set()
    for name in subfolders(root):
        label = _CLASSES.get(name.lower())
        if label is None:
            continue
        class_folder = str((root / name).absolute())
        for image in images_below(root / name):
            folder = str(Path(image).absolute().parent)
            videos.setdefault(folder, []).append(image)
            labels[folder] = label
            if folder == class_folder:
                alone.add(folder)
    if not videos:
        raise UserError(f"{root} holds no images in real/ and fake/ or in 0_real/ and 1_fake/; set --datapath")
    ids = folder_ids(videos)
    records, dropped = [], []
    half_done = unfinished(map(Path, videos))
    for folder, images in videos.items():
        if Path(folder) in half_done:
            dropped.append(Dropped(ids[folder], "", labels[folder], UNFINISHED))
            continue
        method = "" if labels[folder] else "real"
        chosen = images if folder in alone else evenly_spaced(images, n_frames)
        for image in chosen:
            records.append(Record(image, image if folder in alone else ids[folder], labels[folder], "", method))
    if not records:
        raise UserError(f"{root}: no video is left ({UNFINISHED}); run preprocessing/extract_faces.py again")
    listed = len({record.video for record in records}) + len(dropped)
    return DataSet("folder", records, listed, dropped, alone == set(videos), str(root))


FORMAT = DataSetFormat(
    name="folder",
    read=lambda o: read_image_folder(o.given_path, o.frames_per_video),
    needs_datapath="DIR, the folder that holds real/ and fake/",
)
