"""The lists of FFSC: every image of the folders of a split.

The split test gives test.txt (the methods of training) and test_protocol1.txt (methods that training never saw), if
their folders exist. With --balance equal the train list leaves out images of the larger class, evenly over methods.
"""

import argparse

from datasets.readers.ffsc import UNVERIFIED, read_ffsc
from preprocessing.lists.checks import check_copies, check_paths
from preprocessing.lists.choosing import ListedImage, Lists, balanced_classes
from utils.terminal import say


def ffsc_lists(args: argparse.Namespace) -> Lists:
    """The lists of the chosen splits; prints which codes are unverified. args: the options of make_lists.py.

    Raises UserError if a folder is missing or unknown, a list cannot hold a path, or splits share an image.
    """
    lists: Lists = {}
    unverified: dict[str, str] = {}
    for split in args.split:
        balance = args.balance if split == "train" else "none"
        known = read_ffsc(args.data_root, split)
        for name, records in known.items():
            images = [ListedImage(record.path, record.code, record.method) for record in records]
            if balance == "equal":
                images = balanced_classes(images, args.seed)
            doubtful = {m: why for m, why in UNVERIFIED.items() if any(image.method == m for image in images)}
            unverified |= doubtful
            facts = {"dataset": "FFSC", "split": split, "balance": balance, "seed": args.seed}
            lists[name] = (images, facts | {"unverified": doubtful})
        if split == "test" and len(known) == 1:
            say(f"test: only {next(iter(known))}.txt, the folders of the other test list do not exist")
    check_paths(lists)
    check_copies(lists)
    for method, reason in sorted(unverified.items()):
        say(f"UNVERIFIED {method}: {reason}")
    return lists
