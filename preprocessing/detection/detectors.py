"""Face detectors behind one small interface: build_detector(name, device).detect(images) -> faces of each image."""

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from preprocessing.detection.faces import Faces
from preprocessing.extraction.options import DETECTORS
from utils.cli import UserError

if TYPE_CHECKING:
    from preprocessing.detection.mtcnn import Mtcnn
    from preprocessing.detection.retinaface import RetinaFaceDetector

RETINAFACE_WEIGHTS = Path(__file__).resolve().parents[2] / "pretrained" / "RetinaFace-Resnet50-fixed.pth"


def choose_detector(name: str, weights: Path | None = None) -> tuple[str, Path | None]:
    """(the detector that ``name`` of DETECTORS stands for, its file of weights or None: they come with a package).

    "auto" is RetinaFace when ``weights`` are given or RETINAFACE_WEIGHTS exists, else MTCNN. Raises UserError for an
    unknown name, for RetinaFace without a file of weights and for MTCNN with one.
    """
    if name not in DETECTORS:
        raise UserError(f"there is no detector {name!r}; choose one of {', '.join(DETECTORS)}")
    if name == "auto":
        name = "retinaface" if weights is not None or RETINAFACE_WEIGHTS.is_file() else "mtcnn"
    if name == "mtcnn":
        if weights is not None:
            raise UserError(f"mtcnn brings its own weights; leave {weights} out or choose retinaface")
        return name, None
    weights = RETINAFACE_WEIGHTS if weights is None else weights
    if not weights.is_file():
        raise UserError(
            f"there is no file {weights} with weights of retinaface; put it at pretrained/{RETINAFACE_WEIGHTS.name} or "
            "use --detector_weights FILE"
        )
    return name, weights


class Detector:
    """A face detector that looks at downscaled copies of large images.

    max_side: px, images with a longer side are downscaled to about it; None = every image in full size.
    """

    def __init__(self, network: "Mtcnn | RetinaFaceDetector", max_side: int | None) -> None:
        self.network = network
        self.max_side = max_side

    def detect(self, images: list[np.ndarray]) -> list[Faces]:
        """Find the faces of each image.

        images: each [H, W, 3] uint8 RGB, sizes may differ. Returns one Faces per image, in its own pixels, empty
        where there is none.
        """
        small = [_downscaled(image, self.max_side) for image in images]
        found = self.network.detect(small)
        return [_mapped_back(faces, *pair) for faces, *pair in zip(found, small, images, strict=True)]


def _downscaled(image: np.ndarray, max_side: int | None) -> np.ndarray:
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    factor = max_side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _mapped_back(faces: Faces, small: np.ndarray, image: np.ndarray) -> Faces:
    """Faces of ``small`` in pixels of ``image``; centres of pixels lie on whole numbers in both."""
    if small is image:
        return faces
    factor = np.array([image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]], np.float32)
    boxes, landmarks = (
        (points + np.float32(0.5)) * factor - np.float32(0.5)
        for points in (faces.boxes.reshape(-1, 2, 2), faces.landmarks)
    )
    return Faces(boxes.reshape(-1, 4), faces.scores, landmarks)


def build_detector(name: str, device: str = "cpu", weights: Path | None = None, max_side: int | None = 640) -> Detector:
    """A detector with its weights on ``device``; ``name`` and ``weights`` as choose_detector takes them."""
    # PyTorch comes with them; a command line that names detectors does without.
    from preprocessing.detection.mtcnn import Mtcnn
    from preprocessing.detection.retinaface import RetinaFaceDetector
    from utils.devices import set_tf32

    name, weights = choose_detector(name, weights)
    set_tf32(False)  # a GPU finds what a CPU finds
    return Detector(Mtcnn(device) if weights is None else RetinaFaceDetector(weights, device), max_side)
