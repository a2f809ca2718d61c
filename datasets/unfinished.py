"""Which videos preprocessing/extract_faces.py began to crop and did not finish: killed, or still at it.

Beside its crops it keeps a hidden folder .manifest: an empty <video>.new while a video is cropped, and <video>.csv
from its last crop on. Crops of other tools have no such folder; nothing is known of them.
"""

from collections.abc import Iterable
from pathlib import Path

UNFINISHED = "unfinished: the extraction of its crops did not end"  # reason for a video to be dropped
_DEPTH = 3  # folders from a video's crops up to the place of .manifest, at most: <place>/faces/<class>/<video>


def unfinished(folders: Iterable[Path]) -> set[Path]:
    """Those of the folders, each with the crops of one video, that hold a part of them only."""
    whole = {Path(folder): Path(folder).absolute() for folder in folders}
    half_done = set()
    for place in {place for folder in whole.values() for place in list(folder.parents)[:_DEPTH]}:
        hidden = place / ".manifest"
        for mark in hidden.rglob("*.new"):
            if mark.is_file() and not mark.with_suffix(".csv").is_file():
                video = mark.relative_to(hidden).with_suffix("")
                half_done |= {place / "faces" / video, place / video}
    return {folder for folder, absolute in whole.items() if absolute in half_done}
