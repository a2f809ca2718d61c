"""Which weights of a tower are trained: --freeze and --tune. The others get no gradient and no optimizer state."""

from collections.abc import Iterator

from open_clip.transformer import VisionTransformer
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.joint_embedding import JointEmbedding
from models.lora import add_updates
from utils.cli import UserError

_NORMS = (nn.LayerNorm, nn.GroupNorm, _BatchNorm)


def tower_weights(model: JointEmbedding, tower: str) -> Iterator[tuple[str, nn.Parameter]]:
    """Name and parameter of each weight of a tower, one of TOWERS. CLIP's logit scale belongs to none."""
    for name, parameter in model.clip.named_parameters():
        if name != "logit_scale" and name.startswith("visual.") == (tower == "image"):
            yield name, parameter


def freeze(model: JointEmbedding, tower: str) -> None:
    """Train no weight of a tower."""
    for _, parameter in tower_weights(model, tower):
        parameter.requires_grad_(False)


def tune(model: JointEmbedding, tower: str, tuning: str, seed: int) -> None:
    """Train only some weights of a tower.

    Args:
        tower: one of TOWERS.
        tuning: norm: weights and biases of its normalisation layers; bias: all its biases; lora:RANK: low-rank updates
            of its attention, see models/lora.py.
        seed: of the low-rank updates.

    Raises UserError for lora if the tower is no transformer.
    """
    if tuning.startswith("lora:"):
        freeze(model, tower)
        side = model.clip.visual if tower == "image" else model.clip
        if tower == "image" and not isinstance(side, VisionTransformer):
            raise UserError(
                "--tune lora needs a ViT image tower, RN50, RN101 and demo have no attention blocks; "
                "give --tune_image norm"
            )
        layers = [block.attn for block in side.transformer.resblocks]
        return add_updates(layers, int(tuning.removeprefix("lora:")), seed)
    norms = {
        id(parameter)
        for module in model.clip.modules()
        if isinstance(module, _NORMS)
        for parameter in module.parameters()
    }
    for name, parameter in tower_weights(model, tower):
        parameter.requires_grad_(id(parameter) in norms if tuning == "norm" else name.endswith("bias"))
