"""Does a verdict hold after re-encoding? The same faces are scored again after JPEG, H.264 and a smaller size."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from datasets.perturbations import compress_clip
from datasets.transforms import jpeg
from prediction.context import PredictionContext
from prediction.people import Source
from prediction.verdicts import Person, verdict_of
from prediction.wording import outcome_of


def _smaller(crops: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [cv2.resize(crop, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA) for crop in crops]


REENCODINGS: dict[str, Callable[[Sequence[np.ndarray]], list[np.ndarray]]] = {
    "JPEG 75": lambda crops: [jpeg(crop, 75) for crop in crops],
    "H.264 CRF 30": lambda crops: compress_clip(crops, 30),
    "0.75 x size": _smaller,
}


def check_stability(source: Source, persons: Sequence[Person], context: PredictionContext) -> list[dict]:
    """Score the faces of each person again after each of REENCODINGS, applied to the aligned crops.

    Args:
        source: The input; the people's frames of a video are read again.
        persons: Its people with their verdicts.
        context: Model and settings.

    Returns:
        For each person ``stable`` (whether all outcomes are that of the person) and ``reencoded``: name of the
        re-encoding -> ``p_fake`` (calibrated like the outcome) and ``outcome``.

    Raises:
        OSError: ffmpeg cannot encode.
    """
    predictor = context.predictor
    crops: list[list[np.ndarray]] = [[] for _ in persons]
    wanted = {frame for person in persons for frame in person.frames}
    for index, frame in source.frames(wanted):
        for person, own in zip(persons, crops, strict=True):
            if index in person.frames:
                own.append(predictor.align(frame, person.landmarks[person.frames.index(index)]))
    entries = []
    for person, own in zip(persons, crops, strict=True):
        reencoded = {}
        for name, reencode in REENCODINGS.items():
            scores = predictor.score_crops(reencode(own))
            p_fake = verdict_of(scores, predictor.tree, calibrate=context.calibrate).p_calibrated
            reencoded[name] = {"p_fake": p_fake, "outcome": outcome_of(p_fake, context.band)}
        stable = all(entry["outcome"] == person.outcome for entry in reencoded.values())
        entries.append({"stable": stable, "reencoded": reencoded})
    return entries


def instability(entry: dict) -> str:
    """A sentence about a verdict that does not hold, from an entry of ``check_stability``; empty if it holds."""
    if entry["stable"]:
        return ""
    results = ", ".join(f"{name} {made['outcome']} ({made['p_fake']:.2f})" for name, made in entry["reencoded"].items())
    return f"Uncertain under re-encoding: {results}."
