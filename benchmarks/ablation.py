"""Train and test the variants of an ablation study on the demo's crops; prints a Markdown table.

Short trainings of the small tower from scratch: the table shows that every option works and is no evidence about real
data. Needs the crops and lists of `make demo`; `make ablation` runs all variants.
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import SJEDD_test
import SJEDD_train_FFpp
from utils.cli import ArgumentParser, UserError, positive_int, script
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
    "BCE": "--weight autol --lambda_every 4 --loss bce",
    "joint NLL": "--weight autol --lambda_every 4 --loss nll",
    "cosine": "--weight autol --lambda_every 4 --score cosine",
    "text tower frozen": "--weight autol --lambda_every 4 --freeze text",
    "image tower frozen": "--weight autol --lambda_every 4 --freeze image",
}
COLUMNS = ("frame_auc", "video_auc", "video_eer", "video_tpr_at_fpr05")


def thinned(path: Path, every: int, folder: Path) -> Path:
    """Copy every ``every``-th line of a list into ``folder``. Raises UserError if there is no list."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; make demo writes it")
    lines = path.read_text(encoding="utf-8").splitlines()
    write_text(folder / path.name, "".join(line + "\n" for line in lines[::every]))
    return folder / path.name


def run_variant(name: str, options: str, lists: dict[str, Path], output: Path, common: Sequence[str]) -> list[str]:
    """Train and test one variant; returns its row of the table. Raises UserError if a script fails."""
    tag = name.replace(" ", "-")
    train = ["--output", str(output), "--name", "train", "--tag", tag, "--VM", "demo", *common, *options.split()]
    train += ["--txt_path_train", str(lists["train"]), "--txt_path_val", str(lists["val"])]
    started = time.perf_counter()
    checkpoint = output / "train" / tag / "ckpt_last.pth"
    test = ["--output", str(output / "test"), "--name", tag, "--dataset", "list", "--datapath", str(lists["test"])]
    test += ["--batch_size", "32", "--resume", str(checkpoint)]
    if SJEDD_train_FFpp.main(train) or SJEDD_test.main(test):
        raise UserError(f"the variant {name!r} failed; the lines above say why")
    seconds = time.perf_counter() - started
    metrics = json.loads((output / "test" / tag / "list" / "metrics.json").read_text(encoding="utf-8"))
    nodes = [value for value in metrics["nodes"].values() if value is not None]
    node_auc = f"{100 * sum(nodes) / len(nodes):.1f}" if nodes else "-"
    return [name, *(f"{100 * metrics[column]:.1f}" for column in COLUMNS), node_auc, f"{seconds:.0f}"]


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the ablation; see --help."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--lists", default="output/demo/lists", help="folder of train.txt, val.txt, test.txt")
    parser.add_argument("--output", default="output/demo/ablation", help="folder for runs, tests and table.md")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="which to run")
    parser.add_argument("--num_epoch", type=positive_int, default=2, help="epochs of every training")
    parser.add_argument("--every", type=positive_int, default=2, help="train on every n-th line of train.txt")
    parser.add_argument("--batch_size", type=positive_int, default=32, help="images per step")
    args = parser.parse_args(argv)
    output, source = output_dir(Path(args.output)), Path(args.lists)
    every = {"train": args.every, "val": 1, "test": 1}
    lists = {name: thinned(source / f"{name}.txt", each, output) for name, each in every.items()}
    common = ["--num_epoch", str(args.num_epoch), "--batch_size", str(args.batch_size), "--initial_lr", "1e-3"]
    common += ["--aug", "--aug_probs", "0.3"]
    header = ["variant", "frame AUC", "video AUC", "video EER", "TPR at 5% FPR", "mean node AUC", "seconds"]
    rows = [header, ["---"] * len(header)]
    rows += [run_variant(name, VARIANTS[name], lists, output, common) for name in args.variants]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    write_text(output / "table.md", table)
    print(table, end="")


if __name__ == "__main__":
    sys.exit(main())
