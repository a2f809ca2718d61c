"""The command line of the training scripts. Does not import PyTorch, so --help and wrong arguments are quick."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from models.choices import (
    GRAD_METHODS,
    LEVELS,
    LOSSES,
    PRECISIONS,
    SCORES,
    TASKS,
    TOWERS,
    TRACKERS,
    WEIGHTINGS,
)
from utils.cli import (
    INSTEAD,
    ArgumentParser,
    UserError,
    between,
    finite_float,
    folder_name,
    helpers,
    new_png_file,
    non_negative_float,
    non_negative_int,
    number_type,
    positive_float,
    positive_int,
    probability,
    seed,
)
from utils.cpu import default_workers
from utils.ranks import world_size

# Option or value of the reference's scripts -> what to use instead.
_INSTEAD = INSTEAD | {
    "--lambda_epoch": "--lambda_every K updates lambda in one of K steps",
    "all": "for all tasks give --task binary global local",
}
# Options that the automatic --tag names if they differ from their defaults.
_TAGGED = (
    *("grad_method", "loss", "score", "precision", "freeze", "no_tree", "drop_level", "augment_on", "divisor"),
    *("self_blend", "jpeg", "flip", "pairs", "balance_methods", "ema", "tune", "tune_text", "tune_image"),
)
_decay = number_type("decay", float, lambda value: 0 < value < 1, "is not between 0 and 1")


def tuning(text: str) -> str:
    """The argument type of --tune: "lora" is "lora:8"."""
    if text == "lora":
        return "lora:8"
    if not re.fullmatch("full|norm|bias|lora:[1-9][0-9]{0,2}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is none of full, norm, bias, lora and lora:RANK (1 to 999)")
    return text


def get_args_parser(description: str = "") -> ArgumentParser:
    parser = ArgumentParser(description=description, instead=_INSTEAD)

    run = parser.add_argument_group("run").add_argument
    run("--name", default="SJEDD", help="name of the experiment, a folder under --output")
    run("--tag", help="folder of this run under the name (default: made from the settings)")
    run("--output", default="output", help="folder of all runs")
    run("--seed", type=seed, default=0, help="seed of weights, shuffles and augmentation")
    run("--deterministic", action="store_true", help="use deterministic CUDA kernels; slower (CPU runs always repeat)")
    run("--gpu", type=non_negative_int, help="number of the CUDA device (default: 0; the CPU without CUDA)")
    run("--keep", type=non_negative_int, default=0, metavar="N", help="also keep the weights of the last N epochs")
    run("--save_minutes", type=non_negative_float, default=10, metavar="M", help="minutes between saves of "
        "ckpt_last.pth within an epoch")  # fmt: skip
    run("--tracker", choices=TRACKERS, default="tensorboard", help="keeps the figures of each epoch, "
        "besides metrics.jsonl; wandb and trackio: pip install them")  # fmt: skip
    run("--save", choices=("full", "delta"), default="full", help="delta: checkpoints hold only the trained weights "
        "and name the file of the others")  # fmt: skip
    run("--resume", metavar="CKPT", help="continue a run exactly from its ckpt_last.pth, with its settings")
    run("--init_from", metavar="CKPT", help="start a new run from the weights of this checkpoint")

    data = parser.add_argument_group("data").add_argument
    data("--txt_path_train", metavar="FILE", help="training list, lines `path code`")
    data("--txt_path_val", metavar="FILE", help="validation list, lines `path code`")
    data("--batch_size", type=positive_int, default=32, help="images per step, over all devices")
    data("--num_workers", type=helpers, default=default_workers(), help="processes that read images")
    data("--aug", action="store_true", help="perturb training images")
    data("--aug_probs", type=probability, default=0.3, help="share of the training images that --aug perturbs")
    data("--jpeg", type=between(1, 100), nargs=2, metavar=("LOW", "HIGH"), help="JPEG qualities of --aug, drawn "
         "uniformly (default: 75, 80 or 90)")  # fmt: skip
    data("--flip", type=probability, default=0.0, metavar="P", help="mirror this share of the training images")
    data("--pairs", action="store_true", help="batches of pairs: a real and a fake, of the same target video and the "
         "nearest frame where the list has them")  # fmt: skip
    data("--balance_methods", action="store_true", help="equal shares of the methods among the fakes of an epoch")
    data("--crop_cache", type=folder_name, metavar="DIR", help="keep decoded crops in DIR (SSD, 0.3 MB each) for reuse")
    data("--augment_on", choices=("cpu", "device"), default="cpu", help="where training crops are perturbed and "
         "resized; device: the training device (values differ by at most one grey level)")  # fmt: skip
    data("--self_blend", type=probability, default=0.0, metavar="SHARE", help="share of the real training images "
         "that become pseudo-fakes: regions of the face blended with a changed copy, with their label")  # fmt: skip
    data("--real_only", action="store_true", help="train on a list of reals alone, with --self_blend; a validation "
         "list of reals alone then gets a fixed blend of each image")  # fmt: skip
    data("--preview", type=new_png_file, metavar="FILE.png", help="only draw some images of --self_blend as trained "
         "on: write the picture and stop")  # fmt: skip
    data("--unknown", choices=("zero", "mask"), default="zero", help="what to do with a node whose code digit is 2: "
         "unknown. zero: train it as off; mask: leave it out (--loss nll always sums over both states)")  # fmt: skip

    model = parser.add_argument_group("model").add_argument
    model("--VM", metavar="NAME", help="CLIP model: ViT-B/32 (default), ViT-B/16, ViT-L/14, RN50, RN101, open_clip's "
          "name of another (then with --pretrained); demo: small, trained from scratch")  # fmt: skip
    model("--pretrained", "--clip_weights", metavar="TAG|FILE", help="weights of --VM: open_clip's tag, such as "
          "laion2b_s34b_b79k, or a local file of OpenAI, open_clip or Hugging Face (default: OpenAI's)")  # fmt: skip
    model("--divisor", type=positive_float, metavar="D", help="of the product of the embeddings (default: 10 with "
          "OpenAI's weights, else measured at the start)")  # fmt: skip
    model("--precision", choices=PRECISIONS, default="float32", help="precision of the image tower; tf32 and float16 "
          "need CUDA; float16 (with a loss scale) is for GPUs without bfloat16")  # fmt: skip
    model("--compile", action="store_true", help="torch.compile both towers; needs a C++ compiler")
    model("--cuda_graph", action=argparse.BooleanOptionalAction, help="record the CUDA kernels of a step and replay "
          "them (default: wherever that is possible, see docs/training.md)")  # fmt: skip
    model("--grad_checkpointing", action="store_true", help="save memory for a third more computing (ViT only)")

    model("--tune", type=tuning, default="full", metavar="WHAT", help="what is trained. full: all weights; norm: those "
          "of the normalisation layers; bias: all biases; lora[:RANK]: low-rank updates of the attention's matrices "
          "(RANK 8)")  # fmt: skip
    model("--tune_text", type=tuning, metavar="WHAT", help="--tune for the text tower (default: --tune)")
    model("--tune_image", type=tuning, metavar="WHAT", help="--tune for the image tower (default: --tune)")

    optim = parser.add_argument_group("optimisation").add_argument
    optim("--accum", type=positive_int, default=1, metavar="N", help="compute each batch in N parts to save memory; "
          "the result is that of the whole batch")  # fmt: skip
    optim("--num_epoch", type=positive_int, default=20, help="epochs")
    optim("--initial_lr", type=positive_float, default=6e-7, help="AdamW learning rate of epoch 0 (--VM demo: 1e-3)")
    optim("--t_max", type=positive_int, default=5, help="epochs in which the cosine falls to 0")
    optim("--weight_decay", type=non_negative_float, default=1e-3, help="AdamW weight decay")
    optim("--ema", type=_decay, metavar="DECAY", help="also keep a running mean of the weights (EMA, for example "
          "0.999), validate it, and save its best epoch as ckpt_best_ema.pth")  # fmt: skip
    optim("--patience", type=positive_int, help="stop after this many epochs without a better validation AUC")

    tasks = parser.add_argument_group("task weighting").add_argument
    tasks("--weight", choices=WEIGHTINGS, help="weighting of the three tasks (default: autol)")
    tasks("--grad_method", choices=GRAD_METHODS, default="none", help="how conflicting task gradients are combined; "
          "none: summed")  # fmt: skip
    tasks("--task", nargs="+", choices=TASKS, default=["binary"], help="primary task(s) of auto-lambda")
    tasks("--autol_init", type=finite_float, default=1.0, help="autol: initial weight of each task")
    tasks(
        "--autol_lr", type=positive_float, default=1e-3, help="Adam learning rate of autol's and uncert's task weights"
    )
    tasks("--lambda_every", type=positive_int, default=1, help="steps between two lambda updates")

    ablation = parser.add_argument_group("ablation and parity with the reference").add_argument
    ablation("--score", choices=SCORES, help="product: of the embeddings / D; cosine: times CLIP's learned scale "
             "(default: product, or as in the --init_from checkpoint)")  # fmt: skip
    ablation("--no_tree", action="store_true", help="train the root alone: real or fake, one task")
    ablation("--drop_level", choices=LEVELS, help="train without the tree's global attributes or local regions")
    ablation("--prompts", metavar="FILE", help="JSON of other prompts, by root, global, local or the name of a node; "
             "{} is the name")  # fmt: skip
    ablation("--freeze", nargs="+", choices=TOWERS, default=[], help="tower that is not trained")
    ablation("--loss", choices=LOSSES, default="fidelity", help="fidelity: the paper's; bce: binary cross-entropy of "
             "each node's probability; nll: -log p of the labelled state, by levels")  # fmt: skip
    ablation("--hypergrad", choices=("exact", "fd"), default="exact", help="fd: the reference's finite difference")

    # Accepted for older commands: --auc is always on, auto-l means --weight autol.
    parser.add_argument("--auc", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--weighting_method", choices=("none", "auto-l"), default="none", help=argparse.SUPPRESS)
    return parser


def parse_args(argv: Sequence[str] | None, description: str = "") -> argparse.Namespace:
    """Parse and check a training command.

    Returns:
        All options of a new run. With --resume only those that were given: ``resume_settings`` adds the others.
    """
    parser = get_args_parser(description)
    args = parser.parse_args(argv)
    if args.resume and args.init_from:
        parser.error("--resume continues a run, --init_from starts a new one; give one of them")
    if args.resume:
        for action in parser._actions:
            action.default = argparse.SUPPRESS
        return parser.parse_args(argv)
    if args.weighting_method == "auto-l" and args.weight not in (None, "autol"):
        parser.error(f"--weighting_method auto-l contradicts --weight {args.weight}; drop one of them")
    if args.no_tree and (args.weight not in (None, "equal") or args.weighting_method != "none"):
        parser.error("--no_tree leaves one task, which needs no weighting; drop --weight and --weighting_method")
    if args.no_tree and args.drop_level:
        parser.error("--no_tree drops both levels below the root; drop --drop_level")
    if args.no_tree and args.grad_method != "none":
        parser.error("--no_tree leaves one task, whose gradient has no conflicts; drop --grad_method")
    if args.drop_level in args.task:
        parser.error(f"--drop_level {args.drop_level} leaves nothing of that --task; drop one of them")
    if set(args.freeze) == set(TOWERS):
        parser.error("--freeze text image leaves nothing to train")
    for tower in args.freeze:
        if getattr(args, f"tune_{tower}"):
            parser.error(f"--freeze {tower} contradicts --tune_{tower}; drop one of them")
    if args.save == "delta" and args.VM == "demo" and not args.init_from:
        parser.error("--save delta needs weights from a file, but --VM demo starts from random ones; drop it")
    tunings = {args.tune_text or args.tune, args.tune_image or args.tune}
    if args.save == "delta" and tunings == {"full"} and not args.freeze:
        parser.error("--save delta leaves out the weights that are not trained, but all are; drop it, or add --tune")
    if args.batch_size % args.accum:
        parser.error(f"--batch_size {args.batch_size} is not a multiple of --accum {args.accum}")
    if args.jpeg and not args.aug:
        parser.error("--jpeg sets the qualities of --aug; add --aug")
    if args.jpeg and args.jpeg[0] > args.jpeg[1]:
        parser.error(f"--jpeg {args.jpeg[0]} {args.jpeg[1]}: the lower quality comes first")
    if args.pairs and args.batch_size % 2:
        parser.error(f"--pairs needs an even --batch_size, not {args.batch_size}")
    if args.self_blend == 1:
        parser.error("--self_blend 1 leaves no real image; give a share below 1")
    if args.real_only and not args.self_blend:
        parser.error("--real_only needs fakes to train on; add --self_blend 0.5")
    if args.real_only and (args.pairs or args.balance_methods):
        parser.error("--real_only leaves no fakes for --pairs and --balance_methods; drop them")
    for key in ("txt_path_train", "txt_path_val"):
        if getattr(args, key) is None:
            parser.error(f"--{key} is needed: a list file with lines `path code`")
    if args.pretrained and (args.init_from or args.VM == "demo"):
        parser.error("--pretrained cannot be combined with --init_from or --VM demo (trained from scratch)")
    args.weight = args.weight or ("equal" if args.no_tree else "autol")
    args.VM = args.VM or ("init" if args.init_from else "ViT-B/32")
    args.tag = args.tag if args.tag is not None else _tag(args, parser)
    return args


def uses_cuda_graph(args: argparse.Namespace, device_type: str) -> bool:
    """Whether the run's steps are recorded: --cuda_graph, by default True where they can be.

    Raises UserError if --cuda_graph is given and they cannot.
    """
    reason = None
    if world_size() > 1 or args.precision == "float16" or args.hypergrad == "fd":
        reason = "is for one process, without --precision float16 and --hypergrad fd"
    elif device_type != "cuda":
        reason = "needs a CUDA device; run without it"
    if args.cuda_graph and reason:
        raise UserError(f"--cuda_graph {reason}")
    if args.cuda_graph is None:
        return reason is None and not args.compile
    return args.cuda_graph


def _tag(args: argparse.Namespace, parser: ArgumentParser) -> str:
    """For example ViT-B-32_autol_lr6e-07_bz32_aug0.3_seed0."""
    aug = f"aug{args.aug_probs:g}" if args.aug else "noaug"
    pretrained = [re.sub(r"[^\w.-]+", "-", Path(args.pretrained).stem)] if args.pretrained else []
    words = [args.VM.replace("/", "-"), *pretrained, args.weight, f"lr{args.initial_lr:g}", f"bz{args.batch_size}", aug]
    for key in _TAGGED:
        value = getattr(args, key)
        if value != parser.get_default(key):
            text = "-".join(map(str, value)) if isinstance(value, list) else str(value)
            words.append(f"{key}-{text}".replace(":", ""))
    return "_".join([*words, f"seed{args.seed}"])
