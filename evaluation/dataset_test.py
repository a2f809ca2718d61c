"""Test one data set: score its frames, write predictions.csv and metrics.json."""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from datasets.crop_cache import image_source
from datasets.crop_settings import crop_settings, differences
from datasets.frames import Frames, own_videos, scoring_loader
from datasets.perturbations import Perturbation
from datasets.records import DataSet, Dropped
from evaluation.calibration import apply_temperature, calibrated_checkpoint, expected_calibration_error
from evaluation.metrics import evaluate
from evaluation.predictions import Scores, write_predictions
from evaluation.scoring import score_loader
from models.joint_embedding import JointEmbedding
from utils.cli import UserError
from utils.distributed import gather, on_main
from utils.files import remove_leftovers, write_json
from utils.progress import progress_bar
from utils.ranks import world_size

Scored = tuple[Sequence[int], np.ndarray, np.ndarray]  # record indices [B], marginals [B, nodes], log-odds of fake [B]
MIN_FORWARD = 64  # frames that go through the model at once, at least


@dataclass(frozen=True)
class ModelSetup:
    """What all tests of a run share."""

    model: JointEmbedding  # in eval mode, on its device
    text: torch.Tensor  # the encoded prompts, from models.scoring.encode_text
    arithmetic: str  # the precision, as models.scoring names it
    threshold: float | None  # the checkpoint's decision threshold
    crops: dict | None  # how the training's crops were made, where the checkpoint says so
    temperature: float | None  # of --calibration
    args: argparse.Namespace  # the command line of SJEDD_test.py


class DatasetTest:
    """A data set and the model that scores it, once as it is and once per perturbation."""

    def __init__(self, setup: ModelSetup, data: DataSet) -> None:
        """All processes of torchrun must call this."""
        self.setup, self.data = setup, data
        self._images = image_source(data, setup.args.crop_cache)

    @property
    def headline(self) -> str:
        """Name of the AUC that counts: of the videos, or of the frames of an image set."""
        return "frame_auc" if self.data.image_level else "video_auc"

    def score(self, folder: Path, perturbation: Perturbation | None = None) -> dict:
        """Score the frames; write predictions.csv and metrics.json into the folder and return the latter's content.

        Raises:
            UserError: No image could be read.
        """
        dropped = list(self.data.dropped)
        batches = _from_all_processes(self._batches(perturbation, dropped), dropped)
        return on_main(lambda: self._write(folder, perturbation, batches, dropped))

    def _batches(self, perturbation: Perturbation | None, dropped: list[Dropped]) -> Iterator[Scored]:
        """The batches in order (under torchrun this process's share); unreadable images are added to ``dropped``."""
        setup, records, args = self.setup, self.data.records, self.setup.args
        frames = Frames(records, setup.model.image_size, perturbation=perturbation, seed=args.seed, images=self._images)
        batch_size = max(MIN_FORWARD, args.batch_size * (self.data.n_frames or 1))
        own = own_videos(records)
        loader = scoring_loader(
            frames, batch_size, args.num_workers, pin_memory=setup.text.device.type == "cuda", indices=own
        )
        name = f"{self.data.name} {perturbation}" if perturbation else self.data.name
        with progress_bar(total=len(own), desc=name, unit="frame", leave=False) as bar:
            for batch in score_loader(setup.model, loader, setup.arithmetic, setup.text):
                for index, reason in batch.unreadable:
                    record = records[index]
                    dropped.append(Dropped(record.video, record.path, record.label, reason))
                yield batch.indices, batch.marginals, batch.logit_fake
                bar.update(len(batch.indices) + len(batch.unreadable))

    def _write(
        self, folder: Path, perturbation: Perturbation | None, batches: Iterator[Scored], dropped: list[Dropped]
    ) -> dict:
        """predictions.csv while the batches come in, then metrics.json."""
        data, tree, setup = self.data, self.setup.model.tree, self.setup
        remove_leftovers(folder)
        (folder / "metrics.json").unlink(missing_ok=True)  # never beside predictions of another test
        nodes = [node.replace(" ", "_") for node in tree.nodes[1:]]
        try:
            scores = write_predictions(folder / "predictions.csv", data, nodes, batches, setup.temperature)
        except UserError as error:
            last = f", {len(data.records)} were tried ({dropped[-1].path}: {dropped[-1].reason})" if dropped else ""
            raise UserError(f"{data.name}: {error}{last}{_where_to_look(data, dropped)}") from error
        metrics = self._settings(perturbation)
        metrics |= evaluate(scores, tree.nodes[1:], setup.threshold, data.videos_listed)
        metrics |= _class_coverage(scores, dropped)
        if setup.temperature:
            metrics["calibration"] = _calibration_metrics(scores, setup.temperature, setup.args)
        metrics["dropped_by_reason"] = dict(Counter(drop.reason.partition(":")[0] for drop in dropped).most_common())
        metrics["dropped"] = list(map(asdict, dropped))
        write_json(folder / "metrics.json", metrics)
        return metrics

    def _settings(self, perturbation: Perturbation | None) -> dict:
        """The entries of metrics.json that say what was tested and how."""
        data, setup, args = self.data, self.setup, self.setup.args
        crops = crop_settings(data.records)
        trained_on: dict[str, dict | None] = {"the training's crops": setup.crops} if setup.crops else {}
        return {
            "dataset": data.name,
            "source": data.source,
            "image_level": data.image_level,
            "tree": setup.model.tree.name,
            "checkpoint": str(args.resume),
            "protocol": args.protocol,
            "precision": args.precision,
            "perturbation": str(perturbation) if perturbation else None,
            "threshold": setup.threshold,
            "crops": crops if differences(crops) else next(iter(crops.values()), None),
            "crops_unlike": differences(trained_on | crops) if any(crops.values()) else [],
            "protocol_differs": _protocol_differences(args, data, crops.values()),
            "n_frames_per_video": data.n_frames,
        }


def _from_all_processes(batches: Iterator[Scored], dropped: list[Dropped]) -> Iterator[Scored]:
    """In the main process: the batches of all processes in order, with their dropped images added to ``dropped``."""
    if world_size() == 1:
        return batches
    n_before = len(dropped)
    shares = gather((list(batches), dropped[n_before:])) or []
    for _, of_other in shares[1:]:
        dropped += of_other
    return (batch for share, _ in shares for batch in share)


def _class_coverage(scores: Scores, dropped: Sequence[Dropped]) -> dict:
    """Videos scored / videos listed, of each class."""
    scored = {record.video: record.label for record in scores.records}
    listed = Counter((scored | {drop.video: drop.label for drop in dropped}).values())
    found = Counter(scored.values())
    return {
        f"coverage_{name}": found[label] / listed[label] if listed[label] else None
        for label, name in enumerate(("real", "fake"))
    }


def _calibration_metrics(scores: Scores, temperature: float, args: argparse.Namespace) -> dict:
    """The temperature and where it is from, and the calibration error of the frames without and with it."""
    labels, logits = np.array([record.label for record in scores.records]), scores.values[:, 1]
    before, after = (expected_calibration_error(labels, apply_temperature(logits, t)) for t in (1, temperature))
    fitted_on = calibrated_checkpoint(args.calibration)
    foreign = fitted_on is not None and Path(fitted_on).resolve() != Path(args.resume).resolve()
    origin = {"file": args.calibration, "checkpoint": fitted_on, "of_another_checkpoint": foreign}
    return origin | {"temperature": temperature, "ece_before": before, "ece_after": after}


def _protocol_differences(args: argparse.Namespace, data: DataSet, crops: Iterable[dict | None]) -> list[str]:
    """How a test with --protocol reference differs from the reference's, a line each."""
    if args.protocol == "ours":
        return []
    lines = []
    if not data.image_level and not all(made and made.get("protocol") == "reference" for made in crops):
        lines.append("the reference chooses frames among crops of every frame; extract with --protocol reference")
    if args.precision != "float16":
        lines.append(
            "the reference computes in float16 (P(fake) moves by a few 1e-3); on CUDA give --precision float16"
        )
    return lines


def _where_to_look(data: DataSet, dropped: Sequence[Dropped]) -> str:
    """What to do if none of a list's images is there."""
    if not dropped or any(drop.reason != "missing_file" for drop in dropped):
        return ""
    if data.name == "json":
        return "; set --data_root to the folder that the paths of the file start from"
    return "; SJEDD_check_data.py --txt_path_test LIST finds where they are" if data.name == "list" else ""
