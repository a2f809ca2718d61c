"""MTCNN, a cascade of three small networks, with the weights of the facenet-pytorch package."""

from pathlib import Path

import cv2
import facenet_pytorch
import numpy as np
import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torchvision.ops import nms

from preprocessing.detection.faces import Faces

# Pixels that a network takes at once, on a CPU and a GPU. On a CPU the activations of larger batches leave the cache,
# and their memory goes back to the system after each: up to twice the time per image.
_PIXELS = 2**16, 2**23


class Mtcnn:
    """MTCNN (Zhang et al., IEEE Signal Processing Letters 2016).

    The first network scans an image pyramid; the second and the third one score and refine the boxes that are left.
    The weights were trained with this box arithmetic (1-based pixels, square boxes). The faces of an image do not
    depend on the other images of a call.
    """

    min_face = 20  # px, smallest face searched for
    pyramid_step = 0.709
    thresholds = (0.6, 0.7, 0.7)  # smallest score after each network

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)
        folder = Path(facenet_pytorch.__file__).parent / "data"
        self.scan, self.refine, self.output = PNet(pretrained=False), RNet(pretrained=False), ONet(pretrained=False)
        for net, file in ((self.scan, "pnet.pt"), (self.refine, "rnet.pt"), (self.output, "onet.pt")):
            net.load_state_dict(torch.load(folder / file, map_location="cpu", weights_only=True))
            net.eval().to(self.device)

    @torch.inference_mode()
    def detect(self, images: list[np.ndarray]) -> list[Faces]:
        """Find the faces of each image. images: At least one, [H, W, 3] uint8 RGB, all of one size."""
        return self._finish(images, self._refine(images, self._propose(images)))

    def _propose(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """First network. Returns square boxes [n, 4] for each image."""
        height, width = images[0].shape[:2]
        found: list[list[np.ndarray]] = [[] for _ in images]
        factor = 12 / self.min_face
        while min(height, width) * factor >= 12:
            size = (int(width * factor + 1), int(height * factor + 1))
            small = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images]
            shifts, probabilities = self._run(self.scan, small)
            for rows_of_image, shift, score in zip(found, shifts, probabilities[:, 1], strict=True):
                y, x = np.nonzero(score >= self.thresholds[0])
                corner = np.stack([x, y], axis=1) * 2 + 1  # the network's stride is 2, its field 12 px
                boxes = np.floor(np.hstack([corner, corner + 11]) / factor)
                rows = np.hstack([boxes, shift[:, y, x].T, score[y, x][:, None]]).astype(np.float32)
                rows_of_image.append(rows[_nms(rows[:, :4], rows[:, 8], 0.5)])
            factor *= self.pyramid_step
        proposals = []
        for parts in found:
            rows = np.concatenate([np.zeros((0, 9), np.float32), *parts])
            rows = rows[_nms(rows[:, :4], rows[:, 8], 0.7)]
            side = rows[:, 2:4] - rows[:, :2]
            proposals.append(_square(rows[:, :4] + rows[:, 4:8] * np.tile(side, 2)))
        return proposals

    def _refine(self, images: list[np.ndarray], boxes: list[np.ndarray]) -> list[np.ndarray]:
        """Second network. boxes: [n, 4] per image. Returns those that passed, refined and square."""
        refined = []
        for kept, shifts, scores in self._score(self.refine, 24, self.thresholds[1], images, boxes):
            pick = _nms(kept, scores, 0.7)
            refined.append(_square(_shift(kept[pick], shifts[pick])))
        return refined

    def _finish(self, images: list[np.ndarray], boxes: list[np.ndarray]) -> list[Faces]:
        """Third network. boxes: [n, 4] per image."""
        faces = []
        for kept, shifts, points, scores in self._score(self.output, 48, self.thresholds[2], images, boxes):
            corner, side = kept[:, None, :2], (kept[:, 2:] - kept[:, :2] + 1)[:, None]
            landmarks = points.reshape(-1, 2, 5).transpose(0, 2, 1) * side + corner - 1
            kept = _shift(kept, shifts)
            pick = _nms_nested(kept, scores, 0.7)
            pick = pick[np.argsort(-_area(kept[pick]), kind="stable")]
            faces.append(Faces(kept[pick], scores[pick], landmarks[pick]))
        return faces

    def _score(
        self, net: torch.nn.Module, side: int, threshold: float, images: list[np.ndarray], boxes: list[np.ndarray]
    ) -> list[list[np.ndarray]]:
        """Run a network on the patches of boxes, [n, 4] per image, resized to ``side`` px.

        Returns for each image the boxes that passed, then the network's outputs for them; the last are the face scores.
        """
        kept, patches = [], []
        height, width = images[0].shape[:2]
        for image, candidates in zip(images, boxes, strict=True):
            corners = np.trunc(candidates).astype(int)
            low = np.maximum(corners[:, :2], 1) - 1
            high = np.minimum(corners[:, 2:], [width, height])
            inside = (high > low).all(axis=1)
            kept.append(candidates[inside])
            for (x1, y1), (x2, y2) in zip(low[inside], high[inside], strict=True):
                patches.append(cv2.resize(image[y1:y2, x1:x2], (side, side), interpolation=cv2.INTER_AREA))
        # The networks cannot take an empty batch: add a blank patch and drop its outputs.
        patches.append(np.zeros((side, side, 3), np.uint8))
        outputs = [output[:-1] for output in self._run(net, patches)]
        outputs[-1] = outputs[-1][:, 1]
        borders = np.cumsum([len(candidates) for candidates in kept])[:-1]
        passed = []
        for columns in zip(kept, *(np.split(output, borders) for output in outputs), strict=True):
            above = columns[-1] > threshold
            passed.append([column[above] for column in columns])
        return passed

    def _run(self, net: torch.nn.Module, images: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs of a network for images of one size, in parts whose activations fit into memory or cache."""
        pixels = images[0].shape[0] * images[0].shape[1]
        n = max(1, _PIXELS[self.device.type == "cuda"] // pixels)
        parts = [net(self._batch(images[i : i + n])) for i in range(0, len(images), n)]
        return [torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)]

    def _batch(self, images: list[np.ndarray]) -> torch.Tensor:
        """N images [H, W, 3] uint8 of one size -> [N, 3, H, W] float32 in -1..1 on the device."""
        pixels = torch.from_numpy(np.stack(images)).to(self.device).permute(0, 3, 1, 2)
        return (pixels.float() - 127.5) / 128


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)


def _square(boxes: np.ndarray) -> np.ndarray:
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.hstack([centre - half, centre + half])


def _shift(boxes: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Move the corners of boxes [n, 4] by shifts [n, 4] in units of the box sides."""
    return boxes + shifts * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)


def _nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """Non-maximum suppression by IoU: indices of the boxes that stay, best first."""
    return nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold).numpy()


def _nms_nested(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    """As _nms, with the overlap as a share of the smaller box, so that a box inside another one is dropped."""
    order, picked = np.argsort(-scores, kind="stable"), []
    areas = _area(boxes)
    while len(order):
        best, order = order[0], order[1:]
        picked.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        overlap = np.clip(high - low + 1, 0, None).prod(axis=1)
        order = order[overlap / np.minimum(areas[best], areas[order]) <= threshold]
    return np.array(picked, dtype=int)
