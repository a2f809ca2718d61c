"""Pictures -> the faces in them with their scores; the scores of one person -> a verdict.

Finding, aligning and normalising faces is given to the predictor from outside, so that it is done by the very functions
that made the crops of training and testing.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from models.checkpoint import build_model, threshold_of
from models.checkpoint_file import read_checkpoint
from models.heat_maps import heat_maps
from models.joint_embedding import JointEmbedding
from models.label_tree import LabelTree
from models.scoring import encode_text, node_scores
from models.tree_inference import logit_fake, marginals, state_probabilities
from utils.cli import UserError

CROP_SIZE, CROP_SCALE = 317, 1.3  # of checkpoints that do not tell: the paper's


class ScoredFaces(NamedTuple):
    """The faces of a picture as they were found, and their node scores, float32 [n, nodes]."""

    faces: NamedTuple
    scores: np.ndarray


class Verdict(NamedTuple):
    """What the frames of one person say together. frames, calibrated: P(fake) of each frame [F], without and with
    calibration (the same where there is none). nodes: the mean marginals. state: names of the nodes that are on in the
    most probable legal state; the real state has none."""

    frames: np.ndarray
    calibrated: np.ndarray
    nodes: dict[str, float]
    state: list[str]

    @property
    def p_fake(self) -> float:
        """Mean over the frames, as SJEDD_test.py's of a video."""
        return float(self.frames.mean(dtype=float))

    @property
    def p_calibrated(self) -> float:
        """Mean over the frames of the calibrated ones: what the verdict goes by."""
        return float(self.calibrated.mean(dtype=float))


class Predictor:
    """Says of pictures how probably each face in them is fake, and what was altered.

    model: in eval mode. find: pictures, each [H, W, 3] uint8 RGB -> for each the faces to judge, an object with
    ``landmarks`` [n, 5, 2]. align: (picture, landmarks [5, 2]) -> square crop, uint8 RGB. resize: (crop, side) -> crop
    of that side. normalise: uint8 [B, 3, S, S] on the model's device -> float, as the image tower takes it. precision:
    float32 or bfloat16 (autocast). batch_size: crops in one pass of the model. temperature: of the calibration. The
    attributes crops and threshold say how the crops of the training were made and which decision threshold validation
    gave, where the checkpoint tells; no verdict depends on the latter.
    """

    def __init__(
        self,
        model: JointEmbedding,
        find: Callable[[list[np.ndarray]], list],
        align: Callable[[np.ndarray, np.ndarray], np.ndarray],
        resize: Callable[[np.ndarray, int], np.ndarray],
        normalise: Callable[[torch.Tensor], torch.Tensor],
        precision: str = "float32",
        batch_size: int = 32,
        temperature: float | None = None,
    ) -> None:
        self.model = model
        self.find = find
        self.align = align
        self.resize = resize
        self.normalise = normalise
        self.precision = precision
        self.batch_size = batch_size
        self.temperature = temperature
        self.device = next(model.parameters()).device
        self.text = encode_text(model, precision)
        self.crops: Mapping = {}
        self.threshold: float | None = None

    @classmethod
    def load(
        cls,
        path: str | Path,
        find: Callable[[list[np.ndarray]], list],
        align: Callable[[np.ndarray, np.ndarray, int, float], np.ndarray],
        resize: Callable[[np.ndarray, int], np.ndarray],
        normalise: Callable[[torch.Tensor], torch.Tensor],
        device: str | torch.device = "cpu",
        tree: LabelTree | None = None,
        **options: object,
    ) -> "Predictor":
        """The predictor of a checkpoint file. align takes the crop's size and scale too: they are the checkpoint's.

        tree: of a checkpoint that does not say. options: the other ones of Predictor. UserError for a file that is no
        checkpoint.
        """
        content = read_checkpoint(path)
        size, scale = crop_parameters(content, path)
        model = build_model(content, path, tree).to(device)
        predictor = cls(model, find, partial(align, size=size, scale=scale), resize, normalise, **options)
        predictor.crops, predictor.threshold = crops_of(content), threshold_of(content, path)
        return predictor

    @property
    def tree(self) -> LabelTree:
        return self.model.tree

    def look(self, pictures: Sequence[np.ndarray]) -> list[ScoredFaces]:
        """Find, align and score all faces of pictures, each [H, W, 3] uint8 RGB."""
        found = self.find(list(pictures))
        crops = [
            self.align(picture, landmarks)
            for picture, faces in zip(pictures, found, strict=True)
            for landmarks in faces.landmarks
        ]
        scores = self.score(crops)
        borders = np.cumsum([len(faces.landmarks) for faces in found])[:-1]
        return [ScoredFaces(faces, part) for faces, part in zip(found, np.split(scores, borders), strict=True)]

    def images(self, crops: Sequence[np.ndarray]) -> torch.Tensor:
        """Crops, each [S, S, 3] uint8 RGB -> float [B, 3, side, side] on the device, as the image tower takes them."""
        resized = np.stack([self.resize(crop, self.model.image_size).transpose(2, 0, 1) for crop in crops])
        return self.normalise(torch.from_numpy(resized).to(self.device))

    def score(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Node scores of crops, each [S, S, 3] uint8 RGB: float32 [n, nodes]."""
        parts = [np.empty((0, len(self.tree.nodes)), np.float32)]
        for start in range(0, len(crops), self.batch_size):
            images = self.images(crops[start : start + self.batch_size])
            with torch.inference_mode():
                parts.append(node_scores(self.model, images, self.text, self.precision).cpu().numpy())
        return np.concatenate(parts)

    def heat_maps(self, crop: np.ndarray) -> np.ndarray:
        """Where in a crop [S, S, 3] uint8 RGB the score of each node comes from: float32 [nodes, side, side]."""
        return heat_maps(self.model, self.images([crop]), self.text)[0].cpu().numpy()

    def verdict(self, scores: np.ndarray, threshold: float = 0.5) -> Verdict:
        """Judge one person by the node scores of its frames, float32 [F, nodes], F at least 1.

        All probabilities are means over the frames, P(fake) as SJEDD_test.py's. The state is the most probable one of
        those that are fake when the (calibrated) P(fake) is at least ``threshold``, else the real one: who is called
        fake has a fake state even where the single real state is more probable than each of the many fake ones.
        """
        scores = torch.from_numpy(scores)
        nodes = marginals(scores, self.tree).numpy()
        frames = calibrated = nodes[:, 0]
        if self.temperature is not None:
            calibrated = torch.sigmoid(logit_fake(scores, self.tree) / self.temperature).numpy()
        state = np.zeros(len(self.tree.nodes), bool)
        if calibrated.mean(dtype=float) >= threshold:
            states = state_probabilities(scores, self.tree).mean(dim=0)
            state = self.tree.legal_states[1 + int(states[1:].argmax())]
        means = zip(self.tree.nodes, nodes.mean(axis=0, dtype=float).tolist(), strict=True)
        return Verdict(frames, calibrated, dict(means), [self.tree.nodes[i] for i in np.flatnonzero(state)])


def crops_of(content: Mapping) -> Mapping:
    """How the crops were made that a checkpoint was trained on: the content of their manifest.json, or nothing."""
    return content["crops"] if isinstance(content.get("crops"), Mapping) else {}


def crop_parameters(content: Mapping, path: str | Path) -> tuple[int, float]:
    """(size in px, scale) of the crops that a checkpoint was trained on; CROP_SIZE and CROP_SCALE where it does not
    tell."""
    crops = crops_of(content)
    size, scale = crops.get("size", CROP_SIZE), crops.get("scale", CROP_SCALE)
    if not (isinstance(size, int) and 16 <= size <= 4096 and isinstance(scale, int | float) and 0.5 <= scale <= 4):
        raise UserError(f"{path} holds damaged crop settings (size {size!r}, scale {scale!r}); use another checkpoint")
    return size, float(scale)
