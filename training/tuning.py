"""Which weights of a tower are trained: --freeze and --tune. The others get no gradient and no optimizer state."""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.joint_embedding import JointEmbedding
from models.lora import add_updates
from models.towers import packs_prompts, passes_image
from utils.cli import UserError

_NORMS = (nn.LayerNorm, nn.GroupNorm, _BatchNorm)


def tower_weights(model: JointEmbedding, tower: str) -> Iterator[tuple[str, nn.Parameter]]:
    """Name and parameter of each weight of a tower, one of TOWERS. CLIP's logit scale and bias belong to none."""
    for name, parameter in model.clip.named_parameters():
        if not name.startswith("logit_") and name.startswith("visual.") == (tower == "image"):
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

    Raises UserError for lora if the tower is not computed by models/transformer_pass.py.
    """
    if tuning.startswith("lora:"):
        freeze(model, tower)
        of_image = tower == "image"
        if not (passes_image if of_image else packs_prompts)(model.architecture):
            raise UserError(
                f"--tune lora is not for this model's {tower} tower: it is no ViT or text transformer like CLIP's; "
                f"give --tune_{tower} norm"
            )
        blocks = (model.clip.visual if of_image else model.text_tower).transformer.resblocks
        layers = [block.attn for block in blocks]
        return add_updates(layers, int(tuning.removeprefix("lora:")), seed)
    norms = {
        id(parameter)
        for module in model.clip.modules()
        if isinstance(module, _NORMS)
        for parameter in module.parameters()
    }
    for name, parameter in tower_weights(model, tower):
        parameter.requires_grad_(id(parameter) in norms if tuning == "norm" else name.endswith("bias"))
