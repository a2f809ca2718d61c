"""Pictures -> the faces in them with their node scores and heat maps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from datasets.transforms import normalise, resize
from models.checkpoint import build_model, threshold_of
from models.checkpoint_file import read_checkpoint
from models.heat_maps import heat_maps
from models.joint_embedding import JointEmbedding
from models.label_tree import LabelTree
from models.scoring import encode_text, node_scores
from prediction.people import Rules, ScoredFaces, find_faces
from preprocessing.detection.align import align_face
from preprocessing.detection.detectors import Detector, build_detector, choose_detector
from utils.cli import UserError

CROP_SIZE, CROP_SCALE = 317, 1.3  # the paper's, for checkpoints that do not name theirs


class Predictor:
    """Finds faces in pictures and scores them.

    Args:
        model: In eval mode.
        detector: Finds the faces.
        rules: Which of them are good enough.
        crop_size: Side of a crop in pixels.
        crop_scale: Width of a crop over that of the tight face.
        precision: float32 or bfloat16 (autocast).
        batch_size: Crops in one forward pass.
        crops: How the training crops were made, where the checkpoint says; for information.
        threshold: Decision threshold from validation, where the checkpoint says; for information.
    """

    def __init__(
        self,
        model: JointEmbedding,
        detector: Detector,
        rules: Rules,
        crop_size: int = CROP_SIZE,
        crop_scale: float = CROP_SCALE,
        precision: str = "float32",
        batch_size: int = 32,
        crops: Mapping | None = None,
        threshold: float | None = None,
    ) -> None:
        self.model, self.detector, self.rules = model, detector, rules
        self.crop_size, self.crop_scale = crop_size, crop_scale
        self.precision, self.batch_size = precision, batch_size
        self.crops, self.threshold = crops or {}, threshold
        self.device = next(model.parameters()).device
        self.text = encode_text(model, precision)

    @classmethod
    def load(
        cls,
        path: str | Path,
        detector: str = "auto",
        device: str | torch.device = "cpu",
        tree: LabelTree | None = None,
        precision: str = "float32",
        batch_size: int = 32,
    ) -> "Predictor":
        """Load a checkpoint and a face detector.

        Args:
            path: Checkpoint, ours or a published one.
            detector: auto, mtcnn or retinaface.
            device: Where both compute.
            tree: Label tree of a checkpoint that does not name its own.
            precision: float32 or bfloat16.
            batch_size: Crops in one forward pass.

        Raises:
            UserError: The file is not a checkpoint, or the detector has no weights.
        """
        content = read_checkpoint(path)
        size, scale = crop_parameters(content, path)
        model = build_model(content, path, tree).to(device)
        detector, weights = choose_detector(detector)
        return cls(
            model,
            build_detector(detector, str(device), weights),
            Rules.of(detector),
            size,
            scale,
            precision,
            batch_size,
            _crop_settings(content),
            threshold_of(content, path),
        )

    @property
    def tree(self) -> LabelTree:
        return self.model.tree

    def score_faces(self, pictures: Sequence[np.ndarray]) -> list[ScoredFaces]:
        """Find, align and score all good faces of pictures, each [H, W, 3] uint8 RGB."""
        found = find_faces(list(pictures), self.detector, self.rules)
        crops = [
            self.align(picture, landmarks)
            for picture, faces in zip(pictures, found, strict=True)
            for landmarks in faces.landmarks
        ]
        scores = self.score_crops(crops)
        borders = np.cumsum([len(faces.landmarks) for faces in found])[:-1]
        return [ScoredFaces(faces, part) for faces, part in zip(found, np.split(scores, borders), strict=True)]

    def align(self, picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Crop a face as the training crops were made.

        Args:
            picture: [H, W, 3] uint8 RGB.
            landmarks: [5, 2] x, y in pixels.

        Returns:
            [crop_size, crop_size, 3] uint8 RGB.
        """
        return align_face(picture, landmarks, self.crop_size, self.crop_scale)

    def score_crops(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Node scores of crops, each [S, S, 3] uint8 RGB: float32 [n, nodes]."""
        parts = [np.empty((0, len(self.tree.nodes)), np.float32)]
        for start in range(0, len(crops), self.batch_size):
            images = self._images(crops[start : start + self.batch_size])
            with torch.inference_mode():
                parts.append(node_scores(self.model, images, self.text, self.precision).cpu().numpy())
        return np.concatenate(parts)

    def heat_maps(self, crop: np.ndarray) -> np.ndarray:
        """Where in a crop [S, S, 3] uint8 RGB the score of each node comes from: float32 [nodes, side, side]."""
        return heat_maps(self.model, self._images([crop]), self.text)[0].cpu().numpy()

    def _images(self, crops: Sequence[np.ndarray]) -> torch.Tensor:
        """Crops [S, S, 3] uint8 RGB -> float [B, 3, side, side] on the device, as the image tower takes them."""
        resized = np.stack([resize(crop, self.model.image_size).transpose(2, 0, 1) for crop in crops])
        return normalise(torch.from_numpy(resized).to(self.device))


def _crop_settings(content: Mapping) -> Mapping:
    """How the training crops were made: their manifest.json; empty where the checkpoint does not say."""
    return content["crops"] if isinstance(content.get("crops"), Mapping) else {}


def crop_parameters(content: Mapping, path: str | Path) -> tuple[int, float]:
    """(size in px, scale) of the training crops; CROP_SIZE and CROP_SCALE where the checkpoint does not say.

    Args:
        content: Of the checkpoint.
        path: For the message.

    Raises:
        UserError: The settings are damaged.
    """
    crops = _crop_settings(content)
    size, scale = crops.get("size", CROP_SIZE), crops.get("scale", CROP_SCALE)
    if not (isinstance(size, int) and 16 <= size <= 4096 and isinstance(scale, int | float) and 0.5 <= scale <= 4):
        raise UserError(f"{path} holds damaged crop settings (size {size!r}, scale {scale!r}); use another checkpoint")
    return size, float(scale)
