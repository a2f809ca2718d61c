"""Where in a crop a prompt's score comes from: one map per node.

LayerCAM (Jiang et al., IEEE TIP 2021): spatial features of the image tower times the positive part of the gradient of
the node's score in them, summed over the channels where positive. Of a convolutional tower the features are those of
the stage before the last, of a transformer the tokens that its last block mixes into the class token. (The patch tokens
behind the last block, which could be compared with the prompts directly, are read by nothing and trained by nothing.)
"""

import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import nn
from torch.nn import functional as F

from models.demo_tower import DemoTower
from models.joint_embedding import JointEmbedding


def spatial_features(visual: nn.Module) -> nn.Module:
    """The module of an image tower whose output is explained: [B, C, h, w] of a convolutional tower, [B, 1 + h w, C],
    class token first, of a transformer."""
    if isinstance(visual, DemoTower):
        return visual.stages[-7]  # the last module of the stage before the last; a stage is six modules
    if isinstance(visual, ModifiedResNet):
        return visual.layer3
    return visual.transformer.resblocks[-1].ln_1


def heat_maps(model: JointEmbedding, images: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """images: float [B, 3, S, S] as the model takes them; text: its encoded prompts [nodes, D].

    Returns float32 [B, nodes, S, S], at least 0; a map that is not 0 everywhere sums to 1.
    """
    kept: list[torch.Tensor] = []
    layer = spatial_features(model.clip.visual)
    hook = layer.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    try:
        with torch.inference_mode(False), torch.enable_grad():
            scores = model(images.clone().requires_grad_(), text.clone())
            gradients = [torch.autograd.grad(node.sum(), kept[0], retain_graph=True)[0] for node in scores.T]
    finally:
        hook.remove()
    features = kept[0].detach()
    maps = torch.stack([_over_places(features * gradient.clamp(min=0)) for gradient in gradients], dim=1)
    maps = F.interpolate(maps, images.shape[-2:], mode="bilinear")  # from [B, nodes, h, w]
    return maps / maps.sum(dim=(2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)


def _over_places(products: torch.Tensor) -> torch.Tensor:
    """[B, C, h, w] or [B, 1 + h w, C] -> float32 [B, h, w], the sum over the channels where positive."""
    if products.ndim == 4:
        return products.float().clamp(min=0).sum(dim=1)
    places = products[:, 1:].float().clamp(min=0).sum(dim=2)
    return places.unflatten(1, (round(places.shape[1] ** 0.5), -1))
