"""The model of a training run, from its settings: where the weights come from, what is frozen, how it computes."""

import argparse

import torch
from open_clip.transformer import VisionTransformer

from models import checkpoint
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import LabelTree
from models.precision import RoundedWeights, autocast
from utils.cli import UserError
from utils.ranks import world_size


def prepare_model(
    args: argparse.Namespace, content: dict | None, tree: LabelTree, device: torch.device
) -> JointEmbedding:
    """The model on its device, ready to be trained. content: the checkpoint of the run that is resumed, if one is."""
    model = build_model(args, content, tree).to(device)
    for tower in args.freeze:
        freeze(model, tower)
    if args.grad_checkpointing:
        checkpoint_gradients(model)
    if args.compile:
        compile_towers(model, args.precision, args.batch_size // world_size() // args.accum)
    return model


def build_model(args: argparse.Namespace, content: dict | None, tree: LabelTree) -> JointEmbedding:
    """The model: of the resumed run, of --init_from, with CLIP's weights, or with random ones (demo)."""
    torch.manual_seed(args.seed)
    if content is not None:
        return checkpoint.build_model(content, args.resume, tree)
    if args.init_from:
        model = checkpoint.load_model(args.init_from, tree=tree)
        if args.VM != "init" and model.architecture != architecture(args.VM):
            raise UserError(f"{args.init_from} holds another model than {args.VM}; drop --VM")
        model.score = args.score or model.score
        return model
    model = JointEmbedding(architecture(args.VM), tree, args.score or "product")
    if args.VM != "demo":
        weights = checkpoint.clip_state_dict(args.VM, args.clip_weights)
        checkpoint.load_weights(model, weights, args.clip_weights or f"the weights file of {args.VM}")
    return model


def freeze(model: JointEmbedding, tower: str) -> None:
    """Take the tower, one of TOWERS, out of training: no gradient and no optimizer state for its weights."""
    clip = model.clip
    text = (clip.transformer, clip.token_embedding, clip.ln_final)
    modules = (clip.visual,) if tower == "image" else text
    parameters = [parameter for module in modules for parameter in module.parameters()]
    parameters += [clip.positional_embedding, clip.text_projection] if tower == "text" else []
    for parameter in parameters:
        parameter.requires_grad_(False)


def checkpoint_gradients(model: JointEmbedding) -> None:
    """Keep a transformer block's input only and compute its inner activations again in the backward pass."""
    if not isinstance(model.clip.visual, VisionTransformer):
        raise UserError("--grad_checkpointing needs a ViT image tower; the RN50, RN101 and demo towers have no blocks")
    model.clip.visual.transformer.grad_checkpointing = True
    model.clip.transformer.grad_checkpointing = True


def compile_towers(model: JointEmbedding, precision: str = "float32", batch_size: int = 2) -> None:
    """Let torch.compile make kernels for both towers, for ``batch_size`` images at ``precision``.

    UserError when that fails, for example without a compiler, and when the compiled towers give other gradients: on a
    CPU, torch 2.6 compiles a wrong one of the prompts' embedding.
    """
    expected = _gradients(model, precision, batch_size)
    # Buffers that a compiled backward pass reuses would be gone in the second backward pass of a bi-level step.
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
            raise UserError(f"--compile of torch {torch.__version__} makes another gradient of {name}; run without it, "
                            "or with another version of torch")  # fmt: skip


def _gradients(model: JointEmbedding, precision: str, batch_size: int) -> dict[str, torch.Tensor]:
    """Of the summed scores of random images by each trained parameter that they depend on."""
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    device, side = next(model.parameters()).device, model.image_size
    images = torch.randn(batch_size, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    with RoundedWeights(model.clip.visual, precision).in_use():
        with autocast(device.type, precision):
            scores = model(images)
        gradients = torch.autograd.grad(scores.sum(), list(parameters.values()), allow_unused=True)
    return {name: value.float() for name, value in zip(parameters, gradients, strict=True) if value is not None}
