"""Find the faces in pictures; compute their node scores and heat maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from datasets.transforms import normalise, resize
from models.checkpoint import build_model, threshold_of
from models.checkpoint_file import read_checkpoint
from models.heat_maps import heat_maps
from models.joint_embedding import JointEmbedding
from models.label_tree import LabelTree
from models.scoring import NodeScorer, encode_text
from prediction.people import ScoredFaces, find_faces
from preprocessing.detection.align import align_face
from preprocessing.detection.detectors import Detector, build_detector, choose_detector
from preprocessing.extraction.face_limits import MIN_CONFIDENCE
from utils.cli import UserError

CROP_SIZE, CROP_SCALE = 317, 1.3  # the paper's, for checkpoints that do not name theirs


@dataclass
class Predictor:
    """Finds faces in pictures and scores them. Pictures and crops are RGB uint8, [H, W, 3]."""

    model: JointEmbedding  # in eval mode
    detector: Detector
    min_confidence: float  # least detector score of a face
    crop_size: int = CROP_SIZE  # px
    crop_scale: float = CROP_SCALE  # width of a crop over that of the tight face
    precision: str = "float32"  # or bfloat16
    batch_size: int = 32  # crops in one forward pass
    crops: Mapping = field(default_factory=dict)  # how the training crops were made; empty if unknown
    threshold: float | None = None  # from validation; None if unknown; no verdict depends on it

    def __post_init__(self) -> None:
        self.device = next(self.model.parameters()).device
        self.text = encode_text(self.model, self.precision)

    @classmethod
    def load(
        cls,
        path: str | Path,
        detector: str = "auto",
        device: str | torch.device = "cpu",
        tree: LabelTree | None = None,
        precision: str = "float32",
        batch_size: int = 32,
        detect_side: int | None = 640,
    ) -> "Predictor":
        """Load a checkpoint, ours or a published one, and a face detector.

        Args:
            path: Checkpoint.
            detector: auto, mtcnn or retinaface.
            device: Where both compute.
            tree: Label tree of a checkpoint that does not name its own.
            precision, batch_size: As in the class.
            detect_side: px, longer side of the copies that the detector sees; None for full size.

        Raises:
            UserError: The file is not a checkpoint, or the detector has no weights.
        """
        content = read_checkpoint(path)
        size, scale = crop_parameters(content, path)
        model = build_model(content, path, tree).to(device)
        name, weights = choose_detector(detector)
        finder = build_detector(name, str(device), weights, detect_side)
        crops, threshold = _crop_settings(content), threshold_of(content, path)
        return cls(model, finder, MIN_CONFIDENCE[name], size, scale, precision, batch_size, crops, threshold)

    @property
    def tree(self) -> LabelTree:
        return self.model.tree

    def score_faces(self, pictures: Sequence[np.ndarray]) -> list[ScoredFaces]:
        """Find, align and score the good faces of each picture."""
        found = find_faces(list(pictures), self.detector, self.min_confidence)
        pairs = zip(pictures, found, strict=True)
        scores = self.score_crops([self.align(picture, face) for picture, (f, _) in pairs for face in f.landmarks])
        borders = np.cumsum([len(faces.landmarks) for faces, _ in found])[:-1]
        return [ScoredFaces(*faces, part) for faces, part in zip(found, np.split(scores, borders), strict=True)]

    def align(self, picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Crop a face like the training crops. landmarks: [5, 2] x, y in pixels."""
        return align_face(picture, landmarks, self.crop_size, self.crop_scale)

    def score_crops(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Node scores of aligned crops, float32 [n, nodes]."""
        parts = [np.empty((0, len(self.tree.nodes)), np.float32)]
        for start in range(0, len(crops), self.batch_size):
            images = self._images(crops[start : start + self.batch_size])
            with torch.inference_mode():
                parts.append(NodeScorer(self.model, self.precision, self.text)(images).cpu().numpy())
        return np.concatenate(parts)

    def heat_maps(self, crop: np.ndarray) -> np.ndarray:
        """Which parts of a crop the score of each node comes from, float32 [nodes, side, side]."""
        return heat_maps(self.model, self._images([crop]), self.text)[0].cpu().numpy()

    def _images(self, crops: Sequence[np.ndarray]) -> torch.Tensor:
        """Resized and normalised crops for the image tower, float [B, 3, side, side] on the device."""
        resized = np.stack([resize(crop, self.model.image_size).transpose(2, 0, 1) for crop in crops])
        return normalise(torch.from_numpy(resized).to(self.device))


def _crop_settings(content: Mapping) -> Mapping:
    return content["crops"] if isinstance(content.get("crops"), Mapping) else {}


def crop_parameters(content: Mapping, path: str | Path) -> tuple[int, float]:
    """(size in px, scale) of the training crops, by default CROP_SIZE and CROP_SCALE.

    Raises UserError if the checkpoint, read from ``path``, holds damaged settings.
    """
    crops = _crop_settings(content)
    size, scale = crops.get("size", CROP_SIZE), crops.get("scale", CROP_SCALE)
    if not (isinstance(size, int) and 16 <= size <= 4096 and isinstance(scale, int | float) and 0.5 <= scale <= 4):
        raise UserError(f"{path} holds damaged crop settings (size {size!r}, scale {scale!r}); use another checkpoint")
    return size, float(scale)
