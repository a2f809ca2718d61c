"""Heat maps: where in a crop the score of a node comes from.

LayerCAM (Jiang et al., IEEE TIP 2021): features of the image tower times the positive part of the score's gradient,
summed over the channels where positive. The features are the last stage but one of a convolutional tower, or the input
tokens of a transformer's last block. (Its output patch tokens are not used by the score, so they are not trained.)
"""

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from torch import nn
from torch.nn import functional as F

from models.demo_tower import DemoTower
from models.joint_embedding import JointEmbedding


def _feature_module(visual: nn.Module) -> tuple[nn.Module, int]:
    """The module that outputs the features, and the number K of tokens before the patches.

    The features are [B, C, h, w], or for a transformer [B, K + h w, C].
    """
    if isinstance(visual, DemoTower):
        return visual.stages[-7], 0  # end of the last stage but one; a stage has six modules
    if isinstance(visual, ModifiedResNet):
        return visual.layer3, 0
    if isinstance(visual, TimmModel):
        trunk = visual.trunk
        return (trunk.blocks[-1].norm1, trunk.num_prefix_tokens) if hasattr(trunk, "blocks") else (trunk.stages[-2], 0)
    return visual.transformer.resblocks[-1].ln_1, 1


def heat_maps(model: JointEmbedding, images: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """A heat map for each image and node: float32 [B, nodes, S, S] >= 0, of sum 1 unless it is 0 everywhere.

    Args:
        images: float32 [B, 3, S, S], CLIP-normalised RGB.
        text: the model's encoded prompts [nodes, D].
    """
    kept: list[torch.Tensor] = []
    module, before = _feature_module(model.clip.visual)
    hook = module.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        with torch.inference_mode(False), torch.enable_grad():
            scores = model(images.clone().requires_grad_(), text.clone())
            gradients = [torch.autograd.grad(node.sum(), kept[0], retain_graph=True)[0] for node in scores.T]
    finally:
        hook.remove()
    features = kept[0].detach()
    maps = torch.stack([_sum_channels(features * gradient.clamp(min=0), before) for gradient in gradients], dim=1)
    maps = F.interpolate(maps, images.shape[-2:], mode="bilinear")  # from [B, nodes, h, w]
    return maps / maps.sum(dim=(2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)


def _sum_channels(products: torch.Tensor, before: int) -> torch.Tensor:
    """Sum over the channels where positive: [B, C, h, w] or [B, before + h w, C] -> float32 [B, h, w]."""
    if products.ndim == 4:
        return products.float().clamp(min=0).sum(dim=1)
    places = products[:, before:].float().clamp(min=0).sum(dim=2)
    return places.unflatten(1, (round(places.shape[1] ** 0.5), -1))
