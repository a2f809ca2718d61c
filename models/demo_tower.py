"""A small image tower for the demo and the tests, which trains from scratch in minutes on two CPU cores.

Without pre-trained weights, CLIP's towers learn nothing from a few thousand crops. This one can: besides the colours it
sees their high-pass residual, which blending and re-synthesis change, and it keeps positions, which correspond to face
regions because crops are aligned.
"""

import torch
from torch import nn
from torch.nn import functional as F


class DemoTower(nn.Module):
    """Convolutional tower with GroupNorm (BatchNorm does not learn in eval mode, in which the model stays).

    Args:
        image_size: side of the square input in pixels, a multiple of 2 ** len(channels).
        channels: widths after each stride-2 convolution, multiples of 8.
        embed_dim: length of the embedding.
    """

    def __init__(self, image_size: int, channels: list[int], embed_dim: int) -> None:
        super().__init__()
        self.image_size = (image_size, image_size)
        stages, width = [], 6
        for out in channels:
            stages += [nn.Conv2d(width, out, 3, stride=2, padding=1, bias=False), nn.GroupNorm(8, out), nn.GELU()]
            stages += [nn.Conv2d(out, out, 3, padding=1, bias=False), nn.GroupNorm(8, out), nn.GELU()]
            width = out
        self.stages = nn.Sequential(*stages)
        side = image_size // 2 ** len(channels)
        self.squeeze = nn.Conv2d(width, 32, 1)
        self.proj = nn.Linear(32 * side * side, embed_dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed images, float [B, 3, S, S], CLIP-normalised RGB -> float [B, embed_dim]."""
        residual = x - F.avg_pool2d(x, 5, stride=1, padding=2, count_include_pad=False)
        x = self.stages(torch.cat([x, 4 * residual], dim=1))  # [B, C, side, side]
        return self.proj(F.gelu(self.squeeze(x)).flatten(1))
