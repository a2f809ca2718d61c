"""Face detectors behind one interface: build_detector(name, device).detect(images) -> the faces of each image."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from preprocessing.detection.faces import Faces
from preprocessing.extraction.options import DETECTORS
from utils.cli import UserError
from utils.ranks import local_rank

if TYPE_CHECKING:
    from preprocessing.detection.mtcnn import Mtcnn
    from preprocessing.detection.retinaface import RetinaFaceDetector

RETINAFACE_WEIGHTS = Path(__file__).resolve().parents[2] / "pretrained" / "RetinaFace-Resnet50-fixed.pth"


def choose_detector(name: str, weights: Path | None = None) -> tuple[str, Path | None]:
    """Decide which detector to use.

    Args:
        name: One of DETECTORS. "auto" is RetinaFace if ``weights`` are given or RETINAFACE_WEIGHTS exists, else MTCNN.
        weights: RetinaFace's weights file; None = RETINAFACE_WEIGHTS.

    Returns:
        "retinaface" and its weights file, or "mtcnn" and None.

    Raises:
        UserError: The name is unknown, RetinaFace has no weights file, or MTCNN is given one.
    """
    if name not in DETECTORS:
        raise UserError(f"there is no detector {name!r}; choose one of {', '.join(DETECTORS)}")
    if name == "auto":
        name = "retinaface" if weights is not None or RETINAFACE_WEIGHTS.is_file() else "mtcnn"
    if name == "mtcnn":
        if weights is not None:
            raise UserError(f"mtcnn has its own weights; leave {weights} out or choose retinaface")
        return name, None
    weights = RETINAFACE_WEIGHTS if weights is None else weights
    if not weights.is_file():
        where = f"put it at pretrained/{RETINAFACE_WEIGHTS.name} or use --detector_weights FILE"
        raise UserError(f"there is no file {weights} with retinaface's weights; {where}")
    return name, weights


class Detector:
    """Detects faces; images whose longer side is above ``max_side`` px (None: no limit) are downscaled to it first."""

    def __init__(self, network: "Mtcnn | RetinaFaceDetector", max_side: int | None) -> None:
        self.network = network
        self.max_side = max_side

    def detect(self, images: list[np.ndarray]) -> list[Faces]:
        """Find the faces of each image, in its own pixels. images: [H, W, 3] uint8 RGB, of any size."""
        small = [_downscaled(image, self.max_side) for image in images]
        found: dict[int, Faces] = {}
        for shape in {image.shape for image in small}:
            group = [i for i, image in enumerate(small) if image.shape == shape]
            found |= zip(group, self.network.detect([small[i] for i in group]), strict=True)
        return [_mapped_back(found[i], small[i], image) for i, image in enumerate(images)]


def _downscaled(image: np.ndarray, max_side: int | None) -> np.ndarray:
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    factor = max_side / max(height, width)
    size = [max(1, round(side * factor)) for side in (width, height)]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _mapped_back(faces: Faces, small: np.ndarray, image: np.ndarray) -> Faces:
    """Faces of ``small`` in pixels of ``image``; pixel centres are whole numbers in both."""
    if small is image:
        return faces
    factor = np.array([image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]], np.float32)
    half = np.float32(0.5)
    boxes = (faces.boxes.reshape(-1, 2, 2) + half) * factor - half
    return Faces(boxes.reshape(-1, 4), faces.scores, (faces.landmarks + half) * factor - half)


def detector_device(name: str) -> str:
    """The device for --device auto, cpu, cuda or cuda:<number>. Raises UserError if it does not exist.

    "auto" and "cuda" are the CUDA device of this process under torchrun; without CUDA "auto" is the CPU.
    """
    import torch

    cuda = torch.cuda.is_available()
    if name != "auto" and not re.fullmatch(r"cpu|cuda(:[0-9]+)?", name):
        raise UserError(f"--device {name} is not a device; use cpu, cuda or cuda:1")
    if name.startswith("cuda") and not cuda:
        raise UserError(f"--device {name}: torch finds no CUDA device here; use --device cpu")
    if name == "auto" and not cuda:
        return "cpu"
    return f"cuda:{local_rank() % torch.cuda.device_count()}" if name in ("auto", "cuda") else name


def build_detector(
    name: str,
    device: str = "cpu",
    weights: Path | None = None,
    max_side: int | None = 640,
    suppression: bool = True,
) -> Detector:
    """Load a detector. name, weights: See choose_detector. max_side: See Detector.

    suppression: False = return all candidates of RetinaFace; see RetinaFaceDetector.
    """
    # These import PyTorch, which is slow; --help does without it.
    from preprocessing.detection.mtcnn import Mtcnn
    from preprocessing.detection.retinaface import RetinaFaceDetector
    from utils.devices import set_tf32

    name, weights = choose_detector(name, weights)
    set_tf32(False)  # so that a GPU finds the same faces as a CPU
    return Detector(Mtcnn(device) if weights is None else RetinaFaceDetector(weights, device, suppression), max_side)
