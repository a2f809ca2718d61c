"""SJEDD as a detector of DeepfakeBench, for its test.py. It tests; it does not train.

Put this file into training/detectors/, add ``from .sjedd_detector import SJEDDDetector`` to the __init__.py there, and
write a training/config/detector/sjedd.yaml (integrations/README.md has one).
"""

from typing import Any

import numpy as np
import torch
from detectors import DETECTOR

from .base_detector import AbstractDetector


@DETECTOR.register_module(module_name="sjedd")
class SJEDDDetector(AbstractDetector):
    """config: DeepfakeBench's settings, with sjedd_folder and sjedd_checkpoint beside its mean and std."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        self.build_loss(config)
        self.mean, self.std = (torch.tensor(config[name]).view(3, 1, 1) for name in ("mean", "std"))
        self.backbone = self.build_backbone(config)

    def build_backbone(self, config: dict) -> Any:
        folder, checkpoint = config["sjedd_folder"], config["sjedd_checkpoint"]
        return torch.hub.load(folder, "sjedd", source="local", checkpoint=checkpoint, **config.get("sjedd_options", {}))

    def build_loss(self, config: dict) -> None:
        """No loss: the detector is trained by SJEDD's own scripts."""

    def features(self, data_dict: dict) -> torch.Tensor:
        """Log-odds of fake, then the probability of each node, [B, 1 + nodes]. image: normalised RGB [B, 3, H, W]."""
        images = data_dict["image"]
        pixels = images.cpu() * self.std + self.mean
        pixels = (pixels * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
        scores = self.backbone.score(pixels)
        features = np.column_stack([scores["logit_fake"], *scores["nodes"].values()])
        return torch.from_numpy(features).float().to(images.device)

    def classifier(self, features: torch.Tensor) -> torch.Tensor:
        """Logits of real and fake, [B, 2]; their softmax is P(fake)."""
        half = features[:, 0] / 2
        return torch.stack([-half, half], dim=1)

    def forward(self, data_dict: dict, inference: bool = False) -> dict:
        features = self.features(data_dict)
        cls = self.classifier(features)
        return {"cls": cls, "prob": torch.softmax(cls, dim=1)[:, 1], "feat": features}

    def get_losses(self, data_dict: dict, pred_dict: dict) -> dict:
        raise NotImplementedError("SJEDD is not trained in DeepfakeBench; use SJEDD_train_FFpp.py --dataset json")

    def get_train_metrics(self, data_dict: dict, pred_dict: dict) -> dict:
        raise NotImplementedError("SJEDD is not trained in DeepfakeBench; use SJEDD_train_FFpp.py --dataset json")
