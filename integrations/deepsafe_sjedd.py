"""SJEDD as a detector of deepsafe-bench: ``deepsafe eval --model deepsafe_sjedd.py --tier small``.

Environment: SJEDD_FOLDER is the clone of SJEDD, SJEDD_CHECKPOINT the checkpoint or exported folder.
"""

import functools
import os
from pathlib import Path

import torch


@functools.cache
def _detector():
    folder, checkpoint = os.environ["SJEDD_FOLDER"], os.environ["SJEDD_CHECKPOINT"]
    return torch.hub.load(folder, "sjedd", source="local", checkpoint=checkpoint)


def predict(path: Path) -> float:
    """P(fake) of a photograph or a video. Raises ValueError without a face; deepsafe-bench counts that as an error."""
    verdict = _detector().predict(path)
    if verdict["p_fake"] is None:
        raise ValueError(f"{path}: {verdict['outcome']}, {verdict['reason']}")
    return verdict["p_fake"]
