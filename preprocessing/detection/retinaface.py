"""RetinaFace (Deng et al., CVPR 2020) on a ResNet-50, the detector of the paper. Users bring its weights."""

import functools
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval
from torchvision.models import resnet50
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import nms

from models.checkpoint_file import read_checkpoint
from models.clip_names import kind_of
from models.state_dicts import state_dict_of
from preprocessing.detection.faces import Faces
from utils.cli import UserError

_ANCHORS = {8: (16, 32), 16: (64, 128), 32: (256, 512)}  # stride -> sides of a cell's square anchors, px
_SHIFT_UNIT, _SCALE_UNIT = 0.1, 0.2  # of the network's shifts, in anchor sides, and of its log scales
_MEAN_BGR = (104.0, 117.0, 123.0)


class RetinaFace(nn.Module):
    """The network. Its state-dict keys are those of the published weights."""

    def __init__(self) -> None:
        super().__init__()
        stages = {"layer2": "8", "layer3": "16", "layer4": "32"}
        self.body = IntermediateLayerGetter(resnet50(weights=None), stages)
        self.fpn = _FeaturePyramid([512, 1024, 2048], 256)
        self.ssh1, self.ssh2, self.ssh3 = _Context(256), _Context(256), _Context(256)
        self.ClassHead = nn.ModuleList(_Head(256, 2) for _ in _ANCHORS)
        self.BboxHead = nn.ModuleList(_Head(256, 4) for _ in _ANCHORS)
        self.LandmarkHead = nn.ModuleList(_Head(256, 10) for _ in _ANCHORS)

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Score the P anchors of ``anchors(H, W)``. batch: [B, 3, H, W] float, BGR in 0..255 minus (104, 117, 123).

        Returns:
            (loc [B, P, 4], conf [B, P, 2], landmarks [B, P, 10]); conf holds P(background) and P(face), ``decode``
            takes the others.
        """
        levels = self.fpn(list(self.body(batch).values()))
        levels = [context(level) for context, level in zip((self.ssh1, self.ssh2, self.ssh3), levels, strict=True)]
        loc, conf, landmarks = (
            torch.cat([head(level) for head, level in zip(heads, levels, strict=True)], dim=1)
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return loc, conf.softmax(dim=-1), landmarks


class _FeaturePyramid(nn.Module):
    """Add the coarser levels' features to the finer ones; levels go from fine to coarse."""

    def __init__(self, widths: list[int], out: int) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_conv(width, out, kernel=1) for width in widths)
        self.merge1, self.merge2 = _conv(out, out), _conv(out, out)

    def forward(self, levels: list[torch.Tensor]) -> list[torch.Tensor]:
        fine, middle, coarse = self.output1(levels[0]), self.output2(levels[1]), self.output3(levels[2])
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[-2:], mode="nearest"))
        fine = self.merge1(fine + F.interpolate(middle, size=fine.shape[-2:], mode="nearest"))
        return [fine, middle, coarse]


class _Context(nn.Module):
    """Features with receptive fields of 3, 5 and 7 cells (the context module of the SSH detector)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv3X3 = _conv(width, width // 2, relu=False)
        self.conv5X5_1 = _conv(width, width // 4)
        self.conv5X5_2 = _conv(width // 4, width // 4, relu=False)
        self.conv7X7_2 = _conv(width // 4, width // 4)
        self.conv7x7_3 = _conv(width // 4, width // 4, relu=False)

    def forward(self, level: torch.Tensor) -> torch.Tensor:
        wider = self.conv5X5_1(level)
        views = [self.conv3X3(level), self.conv5X5_2(wider), self.conv7x7_3(self.conv7X7_2(wider))]
        return torch.cat(views, dim=1).relu_()


class _Head(nn.Module):
    """``values`` outputs for each of a cell's two anchors: [B, C, H, W] -> [B, H * W * 2, values]."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(width, 2 * values, 1)

    def forward(self, level: torch.Tensor) -> torch.Tensor:
        return self.conv1x1(level).permute(0, 2, 3, 1).reshape(len(level), -1, self.values)


def _conv(width: int, out: int, kernel: int = 3, relu: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(width, out, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(out)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


@functools.lru_cache(maxsize=16)
def anchors(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Centre x, y and side of an image's anchors, px: [P, 3] float32, ordered by level, row, column and side."""
    levels = []
    for stride, sides in _ANCHORS.items():
        y, x = ((torch.arange(-(-size // stride)) + 0.5) * stride for size in (height, width))
        levels.append(torch.cartesian_prod(y, x, torch.tensor(sides, dtype=torch.float32))[:, [1, 0, 2]])
    return torch.cat(levels).to(device)


def decode(loc: torch.Tensor, landmarks: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn the network's loc [..., P, 4] and landmarks [..., P, 10] into pixels of an image of height and width.

    Returns:
        (boxes [..., P, 4] x1, y1, x2, y2; points [..., P, 5, 2] x, y)
    """
    centre, side = anchors(height, width, loc.device).split([2, 1], dim=-1)
    middle = centre + loc[..., :2] * _SHIFT_UNIT * side
    half = side * torch.exp(loc[..., 2:] * _SCALE_UNIT) / 2
    points = centre[:, None] + landmarks.unflatten(-1, (5, 2)) * _SHIFT_UNIT * side[:, None]
    return torch.cat([middle - half, middle + half], dim=-1), points


class RetinaFaceDetector:
    """RetinaFace with trained weights.

    The faces of an image do not depend on the other images of a call: bit for bit on a CPU, which takes one image at a
    time (as fast as a batch), and up to rounding on a GPU.

    suppression: Drop boxes that overlap a better one (non-maximum suppression); without it all candidates are
    returned, many for each face.
    """

    min_score = 0.5  # of a candidate; filtering by a higher score afterwards gives the same result as raising it
    max_overlap = 0.4  # IoU; of two boxes that overlap more, suppression drops the one with the lower score

    def __init__(self, weights: Path, device: str = "cpu", suppression: bool = True) -> None:
        self.suppression = suppression
        self.device = torch.device(device)
        self.net = load_weights(weights)
        fold_batch_norms(self.net)
        self.net.to(self.device, memory_format=torch.channels_last)
        self.batch_pixels = 0 if self.device.type == "cpu" else 2**22  # a larger image is a batch of its own
        self.mean = torch.tensor(_MEAN_BGR, device=self.device)

    @torch.inference_mode()
    def detect(self, images: list[np.ndarray]) -> list[Faces]:
        """Find the faces of each image. images: At least one, [H, W, 3] uint8 RGB, all of one size."""
        step = max(1, self.batch_pixels // images[0][..., 0].size)
        parts = (np.stack(images[start : start + step]) for start in range(0, len(images), step))
        return [faces for part in parts for faces in self._detect(part)]

    def _detect(self, images: np.ndarray) -> list[Faces]:
        """images: [B, H, W, 3] uint8 RGB."""
        pixels = torch.from_numpy(images).to(self.device).flip(-1) - self.mean  # BGR
        loc, conf, landmarks = self.net(pixels.permute(0, 3, 1, 2))  # in channels_last
        boxes, points = decode(loc, landmarks, *images.shape[1:3])
        scores = conf[..., 1]
        image, anchor = torch.nonzero(scores > self.min_score, as_tuple=True)
        kept = [values[image, anchor].cpu() for values in (boxes, scores, points)]
        counts = torch.bincount(image, minlength=len(images)).tolist()
        return [self._faces(*parts) for parts in zip(*(values.split(counts) for values in kept), strict=True)]

    def _faces(self, boxes: torch.Tensor, scores: torch.Tensor, points: torch.Tensor) -> Faces:
        """The faces of one image. boxes: [n, 4]; scores: [n]; points: [n, 5, 2], of its candidates."""
        pick = nms(boxes, scores, self.max_overlap) if self.suppression else torch.arange(len(scores))
        sides = boxes[pick, 2:] - boxes[pick, :2]
        pick = pick[sides.prod(dim=1).argsort(descending=True, stable=True)]
        return Faces(boxes[pick].numpy(), scores[pick].numpy(), points[pick].numpy())


def fold_batch_norms(net: nn.Module) -> None:
    """Fold every BatchNorm of ``net`` (in eval mode) into the convolution before it."""
    for module in list(net.modules()):
        for (name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())


def load_weights(path: Path) -> RetinaFace:
    """The network with the weights of a file, float32 and in eval mode. Raises UserError if the file does not fit."""
    advice = "use the published RetinaFace-Resnet50-fixed.pth"
    try:
        state = state_dict_of(read_checkpoint(path), path, mark="ClassHead.0.conv1x1.weight")
    except UserError as error:
        raise UserError(f"the weights of retinaface: {error}; {advice}") from error
    net = RetinaFace()
    own = net.state_dict()
    faults = {
        "lacks": own.keys() - state.keys(),
        "has unknown": state.keys() - own.keys(),
        "has wrong shapes for": {key for key in own.keys() & state.keys() if own[key].shape != state[key].shape},
        "has NaN or infinite": {key for key, value in state.items() if not value.isfinite().all()},
    }
    for fault, keys in faults.items():
        if keys:
            kind = kind_of({key: value.shape for key, value in state.items()})
            other = f" (it holds {kind})" if kind not in (None, "RetinaFace weights") else ""
            what = f"it {fault} {len(keys)} weights, the first is {min(keys)}{other}"
            raise UserError(f"{path} does not fit retinaface: {what}; {advice}")
    net.load_state_dict(state)
    return net.eval()
