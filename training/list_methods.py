"""The method of every image of a training list, for --balance_methods."""

from collections.abc import Sequence

from datasets.checks.folder_labels import method_of
from datasets.list_rules import absolute_folders
from datasets.records import Record, folder_ids
from preprocessing.lists.method_codes import known_method


def methods_of(records: Sequence[Record]) -> list[str]:
    """The method of each record: "real"; or, of a fake, the first that is known.

    - its own (``Record.method``);
    - what the layouts of FF++ and FFSC tell, the expansion's regions included;
    - the deepest folder, below the one that all images share, that has the name of a method (``GROUPS``);
    - "code " and its node code.
    """
    folders = absolute_folders([record.path for record in records])
    below_shared = folder_ids(set(folders))
    by_folder = {folder: method_of(f"{folder}/") or _named(below) for folder, below in below_shared.items()}
    return [
        "real" if record.label == 0 else record.method or by_folder[folder] or f"code {record.code}"
        for record, folder in zip(records, folders, strict=True)
    ]


def _named(folders: str) -> str | None:
    """The deepest of the folders (joined by slashes) that is named after a method, by that method's usual name."""
    return next(filter(None, map(known_method, reversed(folders.split("/")))), None)
