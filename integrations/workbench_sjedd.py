"""SJEDD as a detector of deepfake-workbench: ``dfwb score --detector py:workbench_sjedd:make_detector ...``.

Environment: PYTHONPATH has this file's folder, SJEDD_FOLDER is the clone of SJEDD, SJEDD_CHECKPOINT the checkpoint or
exported folder.
"""

import hashlib
import os
from pathlib import Path

import torch
from dfwb.core.detector import ClipBatch, DetectorMeta, DetectorOutput, InputSpec

_CITATION = """@article{zou2025sjedd,
  title={Semantics-oriented multitask learning for DeepFake detection: A joint embedding approach},
  author={Zou, Mian and Yu, Baosheng and Zhan, Yibing and Lyu, Siwei and Ma, Kede},
  journal={IEEE Transactions on Circuits and Systems for Video Technology},
  year={2025}
}"""


class SJEDDDetector:
    """P(fake) of a clip is the mean over its frames. The crops' size and scale are those of the training crops."""

    def __init__(self, folder: str, checkpoint: str, device: str = "cpu") -> None:
        self._places = folder, checkpoint
        self._detector = torch.hub.load(folder, "sjedd", source="local", checkpoint=checkpoint, device=device)
        size, scale = self._detector.crops["size"], self._detector.crops["scale"]
        self.meta = DetectorMeta(
            name="sjedd",
            version=self._detector.tree.name,
            contract_version=(1, 0),
            input=InputSpec(crop="face", crop_scale=scale, size=(size, size), frames=1),
            license="Apache-2.0",
            weights_license=None,
            citation=_CITATION,
            source="py:workbench_sjedd:make_detector",
        )
        # Part of deepfake-workbench's cache key: another checkpoint is scored anew.
        file = Path(checkpoint, "model.safetensors") if Path(checkpoint).is_dir() else Path(checkpoint)
        self.checkpoint_sha256 = hashlib.sha256(file.read_bytes()).hexdigest()

    def to(self, device: torch.device) -> "SJEDDDetector":
        return SJEDDDetector(*self._places, device=str(device))

    def predict(self, batch: ClipBatch) -> DetectorOutput:
        """batch.clips: [B, T, 3, H, W] RGB in [0, 1]."""
        clips = batch.clips.cpu()
        pixels = (clips.flatten(0, 1) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
        scores = torch.from_numpy(self._detector.score(pixels)["p_fake"]).unflatten(0, clips.shape[:2])
        scores = scores.to(batch.clips.device)
        return DetectorOutput(score=scores.mean(dim=1), frame_scores=scores)


def make_detector() -> SJEDDDetector:
    return SJEDDDetector(os.environ["SJEDD_FOLDER"], os.environ["SJEDD_CHECKPOINT"])
