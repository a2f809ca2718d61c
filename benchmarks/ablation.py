"""Train and test the variants of an ablation study on the same lists; prints a Markdown table.

By default short trainings of the small tower from scratch on the demo's crops (of `make demo`; `make ablation` runs all
variants): the table shows that every option works and is no evidence about real data. --lists and --VM make it a study.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import SJEDD_test
import SJEDD_train_FFpp
import SJEDD_train_FFSC
from datasets.readers.txt_list import read_txt_list
from datasets.records import node_code
from evaluation.number_text import percent
from models.choices import MODEL_NAMES
from models.label_tree import TREES, LabelTree
from utils.cli import ArgumentParser, UserError, positive_float, positive_int, script
from utils.files import output_dir, write_text

# Name of a variant -> its options of the training script.
VARIANTS = {
    "SJEDD (autol)": "--weight autol --lambda_every 4",
    "equal": "--weight equal",
    "uncert": "--weight uncert",
    "dwa": "--weight dwa",
    "graddrop": "--weight equal --grad_method graddrop",
    "pcgrad": "--weight equal --grad_method pcgrad",
    "cagrad": "--weight equal --grad_method cagrad",
    "binary only": "--no_tree",
    "no global level": "--weight autol --lambda_every 4 --drop_level global",
    "no local level": "--weight autol --lambda_every 4 --drop_level local",
    "BCE": "--weight autol --lambda_every 4 --loss bce",
    "joint NLL": "--weight autol --lambda_every 4 --loss nll",
    "cosine": "--weight autol --lambda_every 4 --score cosine",
    "text tower frozen": "--weight autol --lambda_every 4 --freeze text",
    "image tower frozen": "--weight autol --lambda_every 4 --freeze image",
}
COLUMNS = ("frame_auc", "video_auc", "video_eer", "video_tpr_at_fpr05")
_TRAINING = {"ffpp": SJEDD_train_FFpp, "ffsc": SJEDD_train_FFSC}
_PROMPTS = "files of other prompts (as --prompts of the training); each is one more variant, named after its file"


def thinned(path: Path, every: int, tree: LabelTree, folder: Path) -> Path:
    """The list, or a copy of every ``every``-th line in ``folder``. Raises UserError if it cannot be read."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; make demo writes it for the demo, --lists takes any folder")
    if every == 1:
        return path
    records = read_txt_list(path, tree, labels_allowed=False).records[::every]
    codes = {node_code(tree.encode(code)): code for code in tree.codes or ()}
    lines = (f"{Path(record.path).absolute()} {codes.get(record.code, record.code)}\n" for record in records)
    copy = folder / f"{path.stem}_every{every}.txt"
    write_text(copy, "".join(lines))
    return copy


def run_variant(name: str, options: str, lists: dict[str, Path], output: Path, args: argparse.Namespace) -> list[str]:
    """Train and test one variant; returns its row of the table. Raises UserError if a script fails."""
    tag = name.replace(" ", "-")
    train = ["--output", str(output), "--name", "train", "--tag", tag, "--VM", args.VM, *shlex.split(options)]
    train += ["--txt_path_train", str(lists["train"]), "--txt_path_val", str(lists["val"])]
    train += ["--num_epoch", str(args.num_epoch), "--batch_size", str(args.batch_size), "--aug", "--aug_probs", "0.3"]
    rate = args.initial_lr or (1e-3 if args.VM == "demo" else None)
    train += ["--initial_lr", str(rate)] if rate else []
    started = time.perf_counter()
    checkpoint = output / "train" / tag / "ckpt_last.pth"
    test = ["--output", str(output / "test"), "--name", tag, "--dataset", "list", "--datapath", str(lists["test"])]
    test += ["--batch_size", "32", "--resume", str(checkpoint)]
    if _TRAINING[args.tree].main(train) or SJEDD_test.main(test):
        raise UserError(f"the variant {name!r} failed; the lines above say why")
    seconds = time.perf_counter() - started
    metrics = json.loads((output / "test" / tag / "list" / "metrics.json").read_text(encoding="utf-8"))
    nodes = [value for value in metrics["nodes"].values() if value is not None]
    node_auc = percent(sum(nodes) / len(nodes) if nodes else None, 1, "-")
    return [name, *(percent(metrics[column], 1, "-") for column in COLUMNS), node_auc, f"{seconds:.0f}"]


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the ablation; see --help."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--lists", default="output/demo/lists", help="folder of train.txt, val.txt, test.txt, lines `path code`")
    add("--tree", choices=TREES, default="ffpp", help="label tree of the lists' codes")
    add("--VM", choices=MODEL_NAMES, default="demo", help="CLIP model; demo: small, from scratch")
    add("--output", default="output/demo/ablation", help="folder for runs, tests and table.md")
    add("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS), help="which to run (default: all)")
    add("--prompts", nargs="+", default=[], metavar="FILE", help=_PROMPTS)
    add("--num_epoch", type=positive_int, default=2, help="epochs of every training")
    add("--every", type=positive_int, default=2, help="train on every n-th line of train.txt")
    add("--batch_size", type=positive_int, default=32, help="images per step")
    add("--initial_lr", type=positive_float, help="learning rate (default: the training's; 1e-3 for demo)")
    args = parser.parse_args(argv)
    variants = {name: VARIANTS[name] for name in args.variants}
    for file in args.prompts:
        name = f"prompts {Path(file).stem}"
        if name in variants:
            parser.error(f"two files of --prompts are named {Path(file).stem}; rename one")
        variants[name] = f"{VARIANTS['SJEDD (autol)']} --prompts {shlex.quote(file)}"
    output, source = output_dir(Path(args.output)), Path(args.lists)
    every = {"train": args.every, "val": 1, "test": 1}
    lists = {name: thinned(source / f"{name}.txt", each, TREES[args.tree], output) for name, each in every.items()}
    header = ["variant", "frame AUC", "video AUC", "video EER", "TPR at 5% FPR", "mean node AUC", "seconds"]
    rows = [header, ["---"] * len(header)]
    rows += [run_variant(name, options, lists, output, args) for name, options in variants.items()]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    write_text(output / "table.md", table)
    print(table, end="")


if __name__ == "__main__":
    sys.exit(main())
