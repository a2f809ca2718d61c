"""The model of a training run: where its weights come from, what is frozen, how it computes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from open_clip.transformer import VisionTransformer

from models import checkpoint
from models.clip_weights import clip_state_dict
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import LabelTree
from models.precision import RoundedWeights, autocast
from utils.cli import UserError
from utils.ranks import world_size


@dataclass(frozen=True)
class ModelSettings:
    """The options of the command line with these names."""

    VM: str
    clip_weights: str | None
    resume: str | None
    init_from: str | None
    score: str | None
    seed: int
    freeze: Sequence[str]
    grad_checkpointing: bool
    compile: bool
    precision: str
    batch_size: int
    accum: int


def prepare_model(
    settings: ModelSettings, resumed: Mapping | None, tree: LabelTree, device: torch.device
) -> JointEmbedding:
    """Build the model and make it ready to be trained. resumed: content of the run's checkpoint if it is resumed.

    Raises:
        UserError: the weights do not fit, or the model does not have what an option asks for.
    """
    model = build_model(settings, resumed, tree).to(device)
    for tower in settings.freeze:
        freeze(model, tower)
    if settings.grad_checkpointing:
        checkpoint_gradients(model)
    if settings.compile:
        compile_towers(model, settings.precision, settings.batch_size // world_size() // settings.accum)
    return model


def build_model(settings: ModelSettings, resumed: Mapping | None, tree: LabelTree) -> JointEmbedding:
    """The model of the resumed run, of --init_from, with CLIP's weights, or with random ones (demo)."""
    torch.manual_seed(settings.seed)
    if resumed is not None:
        return checkpoint.build_model(resumed, str(settings.resume), tree)
    if settings.init_from:
        model = checkpoint.load_model(settings.init_from, tree=tree)
        if settings.VM != "init" and model.architecture != architecture(settings.VM):
            raise UserError(f"{settings.init_from} holds another model than {settings.VM}; drop --VM")
        model.score = settings.score or model.score
        return model
    model = JointEmbedding(architecture(settings.VM), tree, settings.score or "product")
    if settings.VM != "demo":
        weights = clip_state_dict(settings.VM, settings.clip_weights)
        checkpoint.load_weights(model, weights, settings.clip_weights or f"the weights file of {settings.VM}")
    return model


def freeze(model: JointEmbedding, tower: str) -> None:
    """Do not train a tower, one of TOWERS: its weights get no gradient and no optimizer state."""
    for name, parameter in model.clip.named_parameters():
        of_image = name.startswith("visual.")
        if name != "logit_scale" and of_image == (tower == "image"):
            parameter.requires_grad_(False)


def checkpoint_gradients(model: JointEmbedding) -> None:
    """Keep only the inputs of transformer blocks; the backward pass computes their activations again.

    Raises:
        UserError: the image tower is no ViT.
    """
    if not isinstance(model.clip.visual, VisionTransformer):
        raise UserError("--grad_checkpointing needs a ViT image tower; the RN50, RN101 and demo towers have no blocks")
    model.clip.visual.transformer.grad_checkpointing = True
    model.clip.transformer.grad_checkpointing = True


def compile_towers(model: JointEmbedding, precision: str = "float32", batch_size: int = 2) -> None:
    """Compile both towers with torch.compile, for ``batch_size`` images at ``precision``.

    Raises:
        UserError: there is no compiler, or the compiled towers have other gradients (torch 2.6 compiles a wrong
            gradient of the prompt embedding on a CPU).
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
                "another version of torch"
            )


def _gradients(model: JointEmbedding, precision: str, batch_size: int) -> dict[str, torch.Tensor]:
    """Gradient of the summed scores of random images with respect to each trained parameter they depend on."""
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    device, side = next(model.parameters()).device, model.image_size
    images = torch.randn(batch_size, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    with RoundedWeights(model.clip.visual, precision).in_use():
        with autocast(device.type, precision):
            scores = model(images)
        gradients = torch.autograd.grad(scores.sum(), list(parameters.values()), allow_unused=True)
    return {name: value.float() for name, value in zip(parameters, gradients, strict=True) if value is not None}
