"""Write lists, each with its recipe: how it was made, its counts and its SHA-256."""

import hashlib
from collections import Counter
from pathlib import Path

from preprocessing.lists.choosing import ListedImage, Lists, shuffled_codes
from utils.files import write_json, write_text
from utils.locks import exclusive_folder


def write_lists(output: Path, lists: Lists, seed_of_codes: int | None) -> None:
    """Write all lists to the folder ``output``. Raises UserError if another run works in it.

    seed_of_codes: Shuffle the codes of the train list with this seed; None keeps them.
    """
    with exclusive_folder(output) as folder:
        for name, (images, facts) in lists.items():
            seed = seed_of_codes if name == "train" else None
            images = images if seed is None else shuffled_codes(images, seed)
            _write_list(folder, name, images, facts | {"shuffle_codes": seed})


def _write_list(folder: Path, name: str, images: list[ListedImage], facts: dict[str, object]) -> None:
    """Write <name>.txt with lines `path code` and <name>.recipe.json (``facts``, counts, SHA-256); print the counts."""
    text = "".join(f"{image.path} {image.code}\n" for image in images)
    real = sum(image.is_real for image in images)
    codes = dict(sorted(Counter(image.code for image in images).items()))
    methods = dict(Counter(image.method for image in images))
    counts = {"images": len(images), "real": real, "fake": len(images) - real, "codes": codes, "methods": methods}
    write_text(folder / f"{name}.txt", text)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()
    write_json(folder / f"{name}.recipe.json", {**facts, **counts, "sha256": digest})
    print(f"{folder / name}.txt: {len(images)} images, {real} real and {len(images) - real} fake")
    for what, numbers in (("codes", codes), ("methods", methods)):
        print(f"  {what}: {', '.join(f'{key} x {number}' for key, number in numbers.items())}")
