"""The model of a training run: its tree and initial weights, what is trained, --grad_checkpointing, --compile."""

import argparse
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer

from models import checkpoint
from models.checkpoint_file import read_checkpoint
from models.clip_weights import clip_weights
from models.delta import describe_base
from models.joint_embedding import SCORE_DIVISOR, JointEmbedding, architecture
from models.label_tree import LabelTree
from models.precision import RoundedWeights, autocast
from models.prompt_tokens import refuse_long_prompts
from training.tuning import freeze, tune
from utils.cli import UserError
from utils.files import read_json
from utils.ranks import world_size

_OWN_START = ("init", "demo")  # values of args.VM without weights of a CLIP


def prepare_model(
    args: argparse.Namespace, resumed: Mapping | None, tree: LabelTree, device: torch.device
) -> JointEmbedding:
    """Build the model and make it ready for training. resumed: content of the checkpoint of --resume.

    Raises UserError if the weights do not fit, or an option does not suit the model.
    """
    model = build_model(args, resumed, tree)
    if args.prompts and resumed is None:
        refuse_long_prompts(model.architecture["text_cfg"], tree.prompts)
    if args.save == "delta" and resumed is None:
        file = args.init_from or clip_weights(args.VM, args.pretrained).file()
        model.base = describe_base(model.clip.state_dict(), file)
    model.to(device)
    for tower in args.freeze:
        freeze(model, tower)
    for tower, tuning in (("text", args.tune_text or args.tune), ("image", args.tune_image or args.tune)):
        if tuning != "full" and tower not in args.freeze:
            tune(model, tower, tuning, args.seed)
    if args.grad_checkpointing:
        checkpoint_gradients(model)
    if args.compile:
        compile_towers(model, args.precision, args.batch_size // world_size() // args.accum)
    return model


def trained_tree(args: argparse.Namespace, resumed: Mapping | None, tree: LabelTree) -> LabelTree:
    """``tree`` as --no_tree, --drop_level and --prompts change it. A resumed run keeps the prompts of its checkpoint.

    Raises UserError if the prompts cannot be read or do not fit the tree.
    """
    tree = tree.root_only if args.no_tree else tree.without[args.drop_level] if args.drop_level else tree
    if args.prompts is None:
        return tree
    if resumed is None:
        return tree.reworded(read_json(Path(args.prompts)), args.prompts)
    saved = resumed.get("tree")
    return tree.reworded(saved.get("wordings") if isinstance(saved, dict) else None, args.resume)


def build_model(args: argparse.Namespace, resumed: Mapping | None, tree: LabelTree) -> JointEmbedding:
    """The model of --resume or --init_from, else of --VM with CLIP's weights or (demo) random ones."""
    torch.manual_seed(args.seed)
    if resumed is not None:
        return checkpoint.build_model(resumed, args.resume, tree, merge=False)
    if args.init_from:
        content = read_checkpoint(args.init_from)
        if args.save == "delta" and "delta" in content:
            raise UserError(f"{args.init_from} is a delta checkpoint, --save delta needs a whole one; drop it")
        model = checkpoint.build_model(content, args.init_from, tree)
        if args.VM != "init" and not _same_towers(model.architecture, architecture(args.VM)):
            raise UserError(f"{args.init_from} holds another model than {args.VM}; drop --VM")
        model.score = args.score or model.score
    elif args.VM == "demo":
        model = JointEmbedding(architecture(args.VM), tree, args.score or "product")
    else:
        weights = clip_weights(args.VM, args.pretrained)
        model = JointEmbedding(weights.architecture, tree, args.score or "product")
        checkpoint.load_weights(model, weights.state_dict(), args.pretrained or f"the weights file of {args.VM}")
    if args.divisor and model.score != "product":
        raise UserError(f"--divisor is for the product score, the model has the {model.score} score; drop --divisor")
    model.divisor = args.divisor or model.divisor
    return model


def _same_towers(one: Mapping, other: Mapping) -> bool:
    return all(one[key] == other[key] for key in ("embed_dim", "vision_cfg", "text_cfg"))


def check_choice(args: argparse.Namespace) -> None:
    """Raises UserError unless --VM and --pretrained of a new run name a supported model and its weights."""
    if args.VM not in _OWN_START:
        clip_weights(args.VM, args.pretrained)


def measures_divisor(args: argparse.Namespace) -> bool:
    """Whether a new run's divisor is measured: if it is not given, and 10 is not known to suit its weights."""
    known = args.divisor or args.score == "cosine" or args.VM in _OWN_START
    return not known and not clip_weights(args.VM, args.pretrained).are_openais


@torch.no_grad()
def measured_divisor(model: JointEmbedding, images: torch.Tensor) -> float:
    """A divisor for weights whose embeddings have other lengths than OpenAI's: mean |image| x mean |prompt| / 10.

    A score is then about 10 times the cosine, as with ViT-B/32, whose embeddings have lengths of about 10 (a round
    figure, not measured here), and the divisor 10. Rounded to three digits.

    images: float [B, 3, S, S], CLIP-normalised RGB.
    """
    lengths = (model.encode_images(images).norm(dim=1).mean(), model.encode_prompts().norm(dim=1).mean())
    return float(f"{math.prod(length.item() for length in lengths) / SCORE_DIVISOR:.3g}")


def checkpoint_gradients(model: JointEmbedding) -> None:
    """Recompute the activations of blocks in the backward pass. Raises UserError for a ResNet and the demo tower."""
    if not isinstance(model.clip.visual, VisionTransformer | TimmModel):
        raise UserError("--grad_checkpointing needs a ViT image tower; ResNets and the demo tower have no blocks")
    model.clip.set_grad_checkpointing()


def compile_towers(model: JointEmbedding, precision: str = "float32", batch_size: int = 2) -> None:
    """Compile both towers with torch.compile, for ``batch_size`` images at ``precision``.

    Raises:
        UserError: there is no compiler, or the compiled towers have other gradients (on a CPU, torch 2.6 gets that of
            the prompt embedding wrong).
    """
    expected = _gradients(model, precision, batch_size)
    # A bi-level step runs several backward passes through one graph, so they must not reuse its buffers.
    torch._functorch.config.donated_buffer = False
    model.encode_images = torch.compile(model.encode_images)
    model.encode_prompts = torch.compile(model.encode_prompts)
    try:
        compiled = _gradients(model, precision, batch_size)
    except RuntimeError as error:  # what the compiler raises derives from it
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--compile failed ({reason}); it needs a C++ compiler; run without it") from error
    scale = max(gradient.norm() for gradient in expected.values())
    rounding = 1e-4 if precision in ("float32", "tf32") else 1e-2
    for name, gradient in expected.items():
        if (compiled[name] - gradient).norm() > 0.05 * gradient.norm() + rounding * scale:
            raise UserError(
                f"--compile of torch {torch.__version__} makes another gradient of {name}; run without it, or with "
                "another torch version"
            )


def _gradients(model: JointEmbedding, precision: str, batch_size: int) -> dict[str, torch.Tensor]:
    """Gradients of the summed scores of random images, for each trained parameter that is used."""
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    device, side = next(model.parameters()).device, model.image_size
    images = torch.randn(batch_size, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    with RoundedWeights(model.clip.visual, precision).in_use():
        with autocast(device.type, precision):
            scores = model(images)
        gradients = torch.autograd.grad(scores.sum(), list(parameters.values()), allow_unused=True)
    return {name: value.float() for name, value in zip(parameters, gradients, strict=True) if value is not None}
