"""How the crops of a data set were made: the manifest.json that preprocessing/extract_faces.py writes."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets.records import Record
from utils.files import read_json

DEFAULT_SCALE = 1.3  # width of a crop / width of the tight face
# Settings that may differ between folders of crops that are made alike.
_OF_THE_RUN = ("versions", "dataset", "compression", "n_frames")


def crop_settings(records: Sequence[Record]) -> dict[str, dict | None]:
    """Folder -> content of its manifest.json, for all crops; "" -> None if some images have none.

    The file is beside the faces folder, at most four folders above an image. Images of preprocessing/expand_FFpp.py are
    made of other crops and have no settings. Raises UserError if a manifest.json cannot be read.
    """
    nearest = _nearest_manifests(records).values()
    return {place: content for place, content in nearest if content is None or "detector" in content}


def crop_scales(records: Sequence[Record]) -> dict[str, float]:
    """The folder above an image's folder -> width of the crops there / width of the tight face.

    The default of extract_faces.py where there is no manifest.json that tells.
    """
    nearest = _nearest_manifests(records).items()
    return {folder: (content or {}).get("scale", DEFAULT_SCALE) for folder, (_, content) in nearest}


def _nearest_manifests(records: Sequence[Record]) -> dict[str, tuple[str, dict | None]]:
    """The folder above an image's folder -> (place, content) of the manifest.json of its images, or ("", None)."""
    found: dict[str, tuple[str, dict | None]] = {}
    for folder in dict.fromkeys(os.path.dirname(os.path.dirname(record.path)) for record in records):  # noqa: PTH120
        found[folder] = "", None
        for place in [Path(folder), *Path(folder).parents][:3]:
            if (place / "manifest.json").is_file():
                content = read_json(place / "manifest.json")
                if isinstance(content, dict) and {"detector", "donors"} & content.keys():
                    found[folder] = str(place), content
                    break
    return found


def differences(settings: Mapping[str, dict | None]) -> list[str]:
    """One line for each setting that differs between crops. settings: As ``crop_settings`` returns them."""
    known = {folder: content for folder, content in settings.items() if content is not None}
    lines = []
    for key in dict.fromkeys(key for content in known.values() for key in content if key not in _OF_THE_RUN):
        values = {folder: content.get(key) for folder, content in known.items()}
        if len({repr(value) for value in values.values()}) > 1:
            lines.append(f"{key} " + ", ".join(f"{value} in {folder}" for folder, value in values.items()))
    return lines + (["no manifest.json beside some of the crops"] if known and "" in settings else [])
