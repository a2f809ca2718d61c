"""The model of a training run: its tree and initial weights, what is trained, --grad_checkpointing, --compile."""

import argparse
from collections.abc import Mapping
from pathlib import Path

import torch
from open_clip.transformer import VisionTransformer

from models import checkpoint
from models.checkpoint_file import read_checkpoint
from models.clip_weights import clip_state_dict, clip_weights_file
from models.delta import describe_base
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import LabelTree
from models.precision import RoundedWeights, autocast
from training.tuning import freeze, tune
from utils.cli import UserError
from utils.files import read_json
from utils.ranks import world_size


def prepare_model(
    args: argparse.Namespace, resumed: Mapping | None, tree: LabelTree, device: torch.device
) -> JointEmbedding:
    """Build the model and make it ready for training. resumed: content of the checkpoint of --resume.

    Raises UserError if the weights do not fit, or an option does not suit the model.
    """
    model = build_model(args, resumed, tree)
    if args.save == "delta" and resumed is None:
        file = args.init_from or clip_weights_file(args.VM, args.clip_weights)
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
        if args.VM != "init" and model.architecture != architecture(args.VM):
            raise UserError(f"{args.init_from} holds another model than {args.VM}; drop --VM")
        model.score = args.score or model.score
        return model
    model = JointEmbedding(architecture(args.VM), tree, args.score or "product")
    if args.VM != "demo":
        weights = clip_state_dict(args.VM, args.clip_weights)
        checkpoint.load_weights(model, weights, args.clip_weights or f"the weights file of {args.VM}")
    return model


def checkpoint_gradients(model: JointEmbedding) -> None:
    """Recompute the activations of transformer blocks in the backward pass. Raises UserError without a ViT."""
    if not isinstance(model.clip.visual, VisionTransformer):
        raise UserError("--grad_checkpointing needs a ViT image tower; the RN50, RN101 and demo towers have no blocks")
    model.clip.visual.transformer.grad_checkpointing = True
    model.clip.transformer.grad_checkpointing = True


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
