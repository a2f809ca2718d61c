"""The detector for other Python programs, see hubconf.py."""

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from models.label_tree import LabelTree
from models.tree_inference import logit_fake, marginals
from prediction.context import PredictionContext, build_context
from prediction.options import add_prediction_options, parse_prediction_args
from prediction.pipeline import judge_input
from prediction.results import file_settings
from utils.cli import ArgumentParser, UserError

IN_MEMORY = Path("array")  # ``input`` of a prediction whose photograph was given as pixels


class SJEDD:
    """Predicts photographs and videos, scores crops. Threads may share one: it does one thing at a time."""

    def __init__(self, context: PredictionContext) -> None:
        self._context = context
        self._lock = threading.Lock()

    @property
    def tree(self) -> LabelTree:
        return self._context.predictor.tree

    @property
    def crops(self) -> dict[str, Any]:
        """How to make crops for ``score``: ``size`` in px and ``scale``, the width over that of the tight face."""
        return {"size": self._context.predictor.crop_size, "scale": self._context.predictor.crop_scale}

    def predict(self, inputs: Any) -> dict | list[dict]:
        """Find and judge the people of a photograph or a video.

        Args:
            inputs: A path, or a photograph as an array uint8 [H, W, 3] RGB (NumPy, PyTorch, Pillow); or a list of them.

        Returns:
            The content of prediction.json without pictures; a list of them for a list. ``input`` of an array is
            "array". What cannot be read is no error: its ``outcome`` is "unreadable".

        Raises ValueError for an array of another shape or dtype.
        """
        if isinstance(inputs, list | tuple):
            return [self._predict_one(given) for given in inputs]
        return self._predict_one(inputs)

    def _predict_one(self, given: Any) -> dict:
        is_path = isinstance(given, str | os.PathLike)
        path, photo = (Path(given), None) if is_path else (IN_MEMORY, _pixels(given))
        with self._lock:
            prediction = judge_input(path, self._context, photo=photo).prediction
        settings = self._context.settings | (file_settings(path) if is_path else {"file": None})
        return prediction | {"settings": settings}

    def score(self, crops: Iterable) -> dict[str, Any]:
        """Score aligned face crops, made like the training crops (``align_face`` of preprocessing/detection/align.py).

        Args:
            crops: uint8 [B, H, W, 3] RGB (NumPy or PyTorch), or B images of any sizes.

        Returns:
            NumPy arrays: ``p_fake`` float32 [B], ``logit_fake`` float64 [B] = log(P / (1 - P)), which still differs
            where P is rounded to 1, and ``nodes`` {name: float32 [B]}. No calibration is applied.

        Raises ValueError for another shape or dtype.
        """
        images = [_pixels(crop) for crop in crops]
        with self._lock:
            scores = torch.from_numpy(self._context.predictor.score_crops(images))
        nodes = marginals(scores, self.tree).numpy()
        by_name = dict(zip(self.tree.nodes, nodes.T, strict=True))
        return {"p_fake": nodes[:, 0], "logit_fake": logit_fake(scores, self.tree).numpy(), "nodes": by_name}


def load(checkpoint: str | os.PathLike, device: Any, options: Mapping[str, Any]) -> SJEDD:
    """See ``sjedd`` of hubconf.py. Raises ValueError for a bad checkpoint, device or option."""
    try:
        args = parse_prediction_args(_parser(), ["--resume", os.fspath(checkpoint), *_words(options)])
        return SJEDD(build_context(args, pictures=False, device=None if device is None else str(device)))
    except UserError as error:
        raise ValueError(str(error)) from error


def _parser() -> ArgumentParser:
    """The options of SJEDD_predict.py; an error raises UserError."""

    def refuse(message: str) -> NoReturn:
        raise UserError(message)

    parser = ArgumentParser(add_help=False)
    add_prediction_options(parser)
    parser.error = refuse
    return parser


def _words(options: Mapping[str, Any]) -> list[str]:
    """Options as words of a command line. None and False leave an option out."""
    words: list[str] = []
    for name, value in options.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            words += [f"--{name}", *map(str, value)]
        elif value is not None and value is not False:
            words.append(f"--{name}" if value is True else f"--{name}={value}")
    return words


def _pixels(image: Any) -> np.ndarray:
    """Raises ValueError unless ``image`` is uint8 [H, W, 3]."""
    pixels = image.cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"an image is uint8 [H, W, 3] RGB, this is {pixels.dtype} {list(pixels.shape)}")
    return pixels
