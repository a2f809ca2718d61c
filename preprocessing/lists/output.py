"""Write lists, each with its recipe: how it was made, its counts and its SHA-256."""

import hashlib
from collections import Counter
from pathlib import Path

from preprocessing.lists.choosing import Lists, shuffled_codes
from utils.files import write_json, write_text
from utils.locks import exclusive_folder
from utils.terminal import say


def write_lists(output: Path, lists: Lists, seed_of_codes: int | None) -> None:
    """Write <name>.txt with lines `path code` and <name>.recipe.json for each list; print the counts.

    seed_of_codes: Shuffle the codes of the train list with this seed; None keeps them. Raises UserError if another run
    works in the folder ``output``, or if a file of that name there is not one of ours.
    """
    files = [f"{name}{ending}" for name in lists for ending in (".txt", ".recipe.json")]
    with exclusive_folder(output, files) as folder:
        for name, (images, facts) in lists.items():
            seed = seed_of_codes if name == "train" else None
            images = images if seed is None else shuffled_codes(images, seed)
            text = "".join(f"{image.path} {image.code}\n" for image in images)
            write_text(folder / f"{name}.txt", text)
            real = sum(image.is_real for image in images)
            counts = {"images": len(images), "real": real, "fake": len(images) - real}
            groups = {
                "codes": dict(sorted(Counter(image.code for image in images).items())),
                "methods": dict(Counter(image.method for image in images)),
            }
            digest = {"sha256": hashlib.sha256(text.encode("utf-8")).hexdigest()}
            write_json(folder / f"{name}.recipe.json", facts | {"shuffle_codes": seed} | counts | groups | digest)
            say(f"{folder / name}.txt: {len(images)} images, {real} real and {counts['fake']} fake")
            for what, numbers in groups.items():
                say(f"  {what}: {', '.join(f'{key} x {number}' for key, number in numbers.items())}")
