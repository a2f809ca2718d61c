"""The command line of the training scripts, and what --resume makes of it."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from models.choices import GRAD_METHODS, LOSSES, MODEL_NAMES, PRECISIONS, SCORES, TASKS, TOWERS, WEIGHTINGS
from utils.cli import (
    INSTEAD,
    ArgumentParser,
    UserError,
    finite_float,
    folder_name,
    non_negative_float,
    non_negative_int,
    positive_float,
    positive_int,
    probability,
    seed,
)
from utils.cpu import default_workers
from utils.ranks import world_size

# What --resume may change: where files are, how fast the run goes and how long, not what it computes.
_FREE_ON_RESUME = {"resume", "num_epoch", "num_workers", "gpu", "output", "name", "tag", "patience", "auc", "keep"}
_FREE_ON_RESUME |= {"txt_path_train", "txt_path_val", "save_minutes"}
_OF_THE_MACHINE = {"crop_cache", "cuda_graph"}  # not taken from the checkpoint: --resume may be on another one
_ADDED_LATER = {"augment_on"}  # older checkpoints lack them; their runs did what is the default


# Options and values of the reference's scripts that these do without.
_INSTEAD = INSTEAD | {
    "--lambda_epoch": "--lambda_every K updates lambda in one of K steps",
    "all": "for all tasks give --task binary global local",
}


def get_args_parser(description: str = "") -> ArgumentParser:
    """The command line of the training scripts."""
    parser = ArgumentParser(description=description, instead=_INSTEAD)
    run = parser.add_argument_group("run")
    run.add_argument("--name", default="SJEDD", help="name of the experiment, a folder under --output")
    run.add_argument("--tag", help="folder of this run under the name; made from the settings when not given")
    run.add_argument("--output", default="output", help="folder for all runs")
    run.add_argument("--seed", type=seed, default=0, help="seed of weights, shuffles and augmentation")
    run.add_argument("--deterministic", action="store_true", help="CUDA: kernels that give the same bits in each run, "
                     "where PyTorch has them; slower (a CPU's do)")  # fmt: skip
    run.add_argument("--gpu", type=non_negative_int, help="number of the CUDA device (0); without CUDA, the CPU")
    run.add_argument("--keep", type=non_negative_int, default=0, metavar="N", help="keep the weights of the last N "
                     "epochs too, as ckpt_epoch*.pth")  # fmt: skip
    run.add_argument("--save_minutes", type=non_negative_float, default=10, metavar="M", help="write ckpt_last.pth "
                     "every M minutes, not only after each epoch")  # fmt: skip
    run.add_argument("--resume", metavar="CKPT", help="go on exactly from a ckpt_last.pth, with its settings")
    run.add_argument("--init_from", metavar="CKPT", help="start from this checkpoint's weights alone")
    data = parser.add_argument_group("data")
    data.add_argument("--txt_path_train", metavar="FILE", help="training list, lines `path code`")
    data.add_argument("--txt_path_val", metavar="FILE", help="validation list, lines `path code`")
    data.add_argument("--batch_size", type=positive_int, default=32, help="images per step, over all devices")
    data.add_argument("--num_workers", type=non_negative_int, default=default_workers(), help="image reading processes")
    data.add_argument("--aug", action="store_true", help="perturb training images")
    data.add_argument("--aug_probs", type=probability, default=0.3, help="share of training images --aug perturbs")
    data.add_argument("--crop_cache", type=folder_name, metavar="DIR", help="keep the decoded crops in DIR, for this "
                      "run and later ones; "
                      "SSD, 0.3 MB a crop")  # fmt: skip
    data.add_argument("--augment_on", choices=("cpu", "device"), default="cpu", help="where training crops are "
                      "perturbed and resized; device: the one that trains, equal to a grey level")  # fmt: skip
    data.add_argument(
        "--unknown",
        choices=("zero", "mask"),
        default="zero",
        help="digit 2 of codes (FFSC): off, or left out (--loss nll sums over it either way)",
    )
    model = parser.add_argument_group("model")
    model.add_argument("--VM", choices=MODEL_NAMES, help="CLIP model (default: ViT-B/32); demo: small, from scratch")
    model.add_argument("--clip_weights", metavar="FILE", help="local OpenAI or open_clip weights of --VM")
    model.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the image tower; tf32 and "
                       "float16: CUDA only; float16 with a loss scale, for GPUs without bfloat16")  # fmt: skip
    model.add_argument("--compile", action="store_true", help="torch.compile both towers; needs a C++ compiler")
    model.add_argument("--cuda_graph", action="store_true", help="one CUDA device: record the kernels of a step's "
                       "gradients and replay them, for small models that wait for Python")  # fmt: skip
    model.add_argument("--grad_checkpointing", action="store_true", help="ViT: less memory, a third more computing")
    optim = parser.add_argument_group("optimisation")
    optim.add_argument("--accum", type=positive_int, default=1, metavar="N", help="compute a batch in N parts, in "
                       "less memory; task gradients, d, losses and lambda are those of the whole batch")  # fmt: skip
    optim.add_argument("--num_epoch", type=positive_int, default=20, help="epochs")
    optim.add_argument("--initial_lr", type=positive_float, default=6e-7, help="AdamW's learning rate in epoch 0 "
                       "(--VM demo, from scratch, needs about 1e-3)")  # fmt: skip
    optim.add_argument("--t_max", type=positive_int, default=5, help="epochs in which the cosine falls to 0")
    optim.add_argument("--weight_decay", type=non_negative_float, default=1e-3, help="AdamW's weight decay")
    optim.add_argument(
        "--patience", type=positive_int, help="stop after so many epochs without a better validation AUC"
    )
    optim.add_argument("--auc", action="store_true", help=argparse.SUPPRESS)  # of older commands; always on
    tasks = parser.add_argument_group("task weighting")
    tasks.add_argument("--weight", choices=WEIGHTINGS, help="weighting of the three tasks (default: autol)")
    # Of older commands: auto-l is --weight autol.
    tasks.add_argument("--weighting_method", choices=("none", "auto-l"), default="none", help=argparse.SUPPRESS)
    tasks.add_argument(
        "--grad_method",
        choices=GRAD_METHODS,
        default="none",
        help="settles conflicts of the weighted task gradients; none: their sum",
    )
    tasks.add_argument("--task", nargs="+", choices=TASKS, default=["binary"], help="primary task(s) of auto-lambda")
    tasks.add_argument("--autol_init", type=finite_float, default=1.0, help="autol: initial weight of each task")
    tasks.add_argument(
        "--autol_lr",
        type=positive_float,
        default=1e-3,
        help="Adam's learning rate of autol's weights and of uncert's s",
    )
    tasks.add_argument("--lambda_every", type=positive_int, default=1, help="steps from one lambda update to the next")
    ablation = parser.add_argument_group("ablation and parity with the reference")
    ablation.add_argument(
        "--score",
        choices=SCORES,
        help="of an image and a prompt: product of the embeddings / 10, or cosine times CLIP's learned scale "
        "(default: product, or the --init_from checkpoint's)",
    )
    ablation.add_argument(
        "--no_tree", action="store_true", help="real or fake alone: a tree of the root, binary task only"
    )
    ablation.add_argument(
        "--freeze",
        nargs="+",
        choices=TOWERS,
        default=[],
        help="do not train this tower; of the text the prompts are then encoded once",
    )
    ablation.add_argument("--loss", choices=LOSSES, default="fidelity", help="bce: of each node's probability; nll: "
                       "-log p of the code's state, by levels")  # fmt: skip
    ablation.add_argument("--hypergrad", choices=("exact", "fd"), default="exact", help="fd: central finite "
                          "difference, as the reference")  # fmt: skip
    return parser


def parse_args(argv: Sequence[str] | None, description: str) -> tuple[argparse.Namespace, dict | None]:
    """The run's settings, and the content of the checkpoint it resumes (whose settings then hold), else None."""
    parser = get_args_parser(description)
    args = parser.parse_args(argv)
    if args.resume and args.init_from:
        parser.error("--resume goes on with a run, --init_from starts a new one; give one of them")
    if args.resume:
        args, content = _resumed(args.resume, argv)
        _refuse_graph_of_several(parser, args)
        return args, content
    if args.weighting_method == "auto-l" and args.weight not in (None, "autol"):
        parser.error(f"--weighting_method auto-l contradicts --weight {args.weight}; drop one of them")
    if args.no_tree and (args.weight not in (None, "equal") or args.weighting_method != "none"):
        parser.error("--no_tree leaves one task, which needs no weighting; drop --weight and --weighting_method")
    if args.no_tree and args.grad_method != "none":
        parser.error("--no_tree leaves one task, whose gradient has no conflicts; drop --grad_method")
    if set(args.freeze) == set(TOWERS):
        parser.error("--freeze text image leaves nothing to train")
    _refuse_graph_of_several(parser, args)
    if args.batch_size % args.accum:
        parser.error(f"--batch_size {args.batch_size} is no multiple of --accum {args.accum}")
    args.weight = args.weight or ("equal" if args.no_tree else "autol")
    for key in ("txt_path_train", "txt_path_val"):
        if getattr(args, key) is None:
            parser.error(f"--{key} is needed: a list file with lines `path code`")
    if args.clip_weights and (args.init_from or args.VM == "demo"):
        parser.error("--clip_weights goes neither with --VM demo (trained from scratch) nor with --init_from")
    args.VM = args.VM or ("init" if args.init_from else "ViT-B/32")
    if args.tag is None:
        aug = f"aug{args.aug_probs:g}" if args.aug else "noaug"
        settings = (args.VM.replace("/", "-"), args.weight, f"lr{args.initial_lr:g}", f"bz{args.batch_size}", aug)
        others = ("grad_method", "loss", "score", "precision", "freeze", "no_tree", "augment_on")
        changed = [key for key in others if getattr(args, key) != parser.get_default(key)]
        settings += tuple(f"{key}-{'-'.join(_words(getattr(args, key)))}" for key in changed)
        args.tag = "_".join((*settings, f"seed{args.seed}"))
    return args, None


def _words(value: str | bool | list[str]) -> list[str]:
    return value if isinstance(value, list) else [str(value)]


def _refuse_odd_settings(parser: ArgumentParser, saved: dict, path: str) -> None:
    """UserError for settings that no command line gives. (--VM of a run that began with --init_from is its own.)"""

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{path} holds damaged settings ({message}); use --init_from for its weights")

    checked = {key: saved[key] for key in vars(parser.parse_args([])).keys() - {"VM"}}
    words = []
    for key, value in checked.items():
        if isinstance(value, list):
            words += [f"--{key}", *map(str, value)] if value else []
        elif value is not None and value is not False:
            words.append(f"--{key}" if value is True else f"--{key}={value}")
    parser.error = refuse
    given = vars(parser.parse_args(words))
    if odd := [key for key, value in checked.items() if given[key] != value]:
        refuse(f"{odd[0]} {checked[odd[0]]!r}")
    del parser.error


def _resumed(path: str, argv: Sequence[str] | None) -> tuple[argparse.Namespace, dict]:
    from models.checkpoint import FORMAT  # with PyTorch, which --help does without
    from models.checkpoint_file import read_checkpoint

    content = read_checkpoint(path)
    needed = {"trainer", "args", "progress", "rng", "data_hash"}
    if content.get("format") != FORMAT or not needed <= content.keys():
        raise UserError(f"{path} cannot be resumed, only our ckpt_last.pth can; use --init_from for its weights")
    parser = get_args_parser()
    saved, defaults = content["args"], vars(parser.parse_args([]))
    free = _FREE_ON_RESUME | _OF_THE_MACHINE
    if not isinstance(saved, dict) or not defaults.keys() - free - _ADDED_LATER <= saved.keys():
        raise UserError(f"{path} lacks settings of its run and cannot be resumed; use --init_from for its weights")
    saved = defaults | {key: value for key, value in saved.items() if key not in _OF_THE_MACHINE}
    _refuse_odd_settings(parser, saved, path)
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    given = vars(parser.parse_args(argv))
    for key in sorted(given.keys() - free):
        if given[key] != saved[key]:
            raise UserError(f"{path} was trained with --{key} {saved[key]} and goes on so; drop --{key}")
    folder = Path(path).resolve().parent
    places = {"output": str(folder.parent.parent), "name": folder.parent.name, "tag": folder.name}
    return argparse.Namespace(**(saved | places | given)), content


def _refuse_graph_of_several(parser: ArgumentParser, args: argparse.Namespace) -> None:
    if args.cuda_graph and (world_size() > 1 or args.precision == "float16" or args.hypergrad == "fd"):
        parser.error("--cuda_graph is for one process, without --precision float16 and --hypergrad fd")
