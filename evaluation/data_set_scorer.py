"""Score the frames of one data set; write predictions.csv and metrics.json."""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.special import expit

from datasets.crop_cache import image_source
from datasets.crop_settings import crop_settings, differences
from datasets.frames import Frames, own_videos, scoring_loader
from datasets.perturbations import Perturbation
from datasets.records import DataSet, Dropped
from evaluation.calibration import calibrated, calibrated_checkpoint, expected_calibration_error
from evaluation.metrics import evaluate
from evaluation.predictions_writer import Scores, write_predictions
from evaluation.scoring import score_loader
from evaluation.submissions import remove_submissions, write_submissions
from models.joint_embedding import JointEmbedding
from utils.cli import UserError
from utils.distributed import gather, on_main
from utils.files import remove_leftovers, write_json
from utils.progress import progress_bar
from utils.ranks import world_size

Batch = tuple[Sequence[int], np.ndarray, np.ndarray]  # record indices [B], marginals [B, nodes], log-odds of fake [B]
RESULTS = ("predictions.csv", "metrics.json", "test_log.txt")  # of a test, also of a perturbed one
MIN_FORWARD = 64  # smallest number of frames in one forward pass


@dataclass(frozen=True)
class RunSetup:
    """What all data sets of a run share."""

    model: JointEmbedding  # in eval mode, on its device
    text: torch.Tensor  # the encoded prompts, from models.scoring.encode_text
    precision: str  # as models.scoring names it
    threshold: float | None  # the checkpoint's decision threshold
    crops: dict | None  # how the training crops were made; None if the checkpoint does not say
    calibration: dict | None  # from --calibration
    args: argparse.Namespace  # the command line of SJEDD_test.py


class DataSetScorer:
    """Scores a data set, as it is or perturbed. Under torchrun all processes must make the same calls.

    Args:
        setup: Shared by the data sets of the run.
        data: The data set.
    """

    def __init__(self, setup: RunSetup, data: DataSet) -> None:
        self.setup, self.data = setup, data
        self._images = image_source(data, setup.args.crop_cache)

    @property
    def main_auc(self) -> str:
        """Name of the AUC to report: video_auc, or frame_auc for an image set."""
        return "frame_auc" if self.data.image_level else "video_auc"

    def score(self, folder: Path, perturbation: Perturbation | None = None) -> dict:
        """Write predictions.csv and metrics.json into ``folder``; returns the content of metrics.json.

        Raises:
            UserError: No image could be read.
        """
        dropped = list(self.data.dropped)
        batches = _from_all_processes(self._batches(perturbation, dropped), dropped)
        return on_main(lambda: self._write(folder, perturbation, batches, dropped))

    def _batches(self, perturbation: Perturbation | None, dropped: list[Dropped]) -> Iterator[Batch]:
        """Score this process's share of the frames in order; add unreadable images to ``dropped``."""
        setup, records, args = self.setup, self.data.records, self.setup.args
        frames = Frames(records, setup.model.image_size, perturbation=perturbation, seed=args.seed, images=self._images)
        batch_size = max(MIN_FORWARD, args.batch_size * (self.data.n_frames or 1))
        own, on_cuda = own_videos(records), setup.text.device.type == "cuda"
        loader = scoring_loader(frames, batch_size, args.num_workers, pin_memory=on_cuda, indices=own)
        name = f"{self.data.name} {perturbation}" if perturbation else self.data.name
        with progress_bar(total=len(own), desc=name, unit="frame", leave=False) as bar:
            for batch in score_loader(setup.model, loader, setup.precision, setup.text):
                for index, reason in batch.unreadable:
                    record = records[index]
                    dropped.append(Dropped(record.video, record.path, record.label, reason))
                yield batch.indices, batch.marginals, batch.logit_fake
                bar.update(len(batch.indices) + len(batch.unreadable))

    def _write(
        self, folder: Path, perturbation: Perturbation | None, batches: Iterator[Batch], dropped: list[Dropped]
    ) -> dict:
        data, tree, setup = self.data, self.setup.model.tree, self.setup
        remove_leftovers(folder)
        remove_submissions(folder)
        (folder / "metrics.json").unlink(missing_ok=True)  # it must not stay beside new predictions
        nodes = [node.replace(" ", "_") for node in tree.nodes[1:]]
        try:
            scores = write_predictions(folder / "predictions.csv", data, nodes, batches, setup.calibration)
        except UserError as error:
            last = f", {len(data.records)} were tried ({dropped[-1].path}: {dropped[-1].reason})" if dropped else ""
            raise UserError(f"{data.name}: {error}{last}{_hint(data, dropped)}") from error
        metrics = self._settings(perturbation) | evaluate(scores, tree.nodes[1:], setup.threshold, data.videos_listed)
        metrics |= _class_coverage(scores, dropped)
        if setup.calibration:
            metrics["calibration"] = _calibration_metrics(scores, setup.calibration, setup.args)
        metrics["dropped_by_reason"] = dict(Counter(drop.reason.partition(":")[0] for drop in dropped).most_common())
        metrics["dropped"] = list(map(asdict, dropped))
        metrics["submission"] = write_submissions(folder, setup.args.submission, scores, metrics)
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


def _from_all_processes(batches: Iterator[Batch], dropped: list[Dropped]) -> Iterator[Batch]:
    """Collect the batches of all processes in the main one, in order; add their dropped images to ``dropped``."""
    if world_size() == 1:
        return batches  # one at a time, to save memory
    n_before = len(dropped)
    shares = gather((list(batches), dropped[n_before:])) or []
    for _, dropped_elsewhere in shares[1:]:
        dropped += dropped_elsewhere
    return (batch for share, _ in shares for batch in share)


def _class_coverage(scores: Scores, dropped: Sequence[Dropped]) -> dict:
    """Videos scored / videos listed, of each class."""
    labels = {record.video: record.label for record in scores.records}
    scored = Counter(labels.values())
    listed = Counter((labels | {drop.video: drop.label for drop in dropped}).values())
    names = ("coverage_real", "coverage_fake")
    return {name: scored[i] / listed[i] if listed[i] else None for i, name in enumerate(names)}


def _calibration_metrics(scores: Scores, calibration: dict, args: argparse.Namespace) -> dict:
    """The calibration, its origin, and the calibration error of the frames without and with it."""
    labels, logits = np.array([record.label for record in scores.records]), scores.values[:, 1]
    before, after = (expected_calibration_error(labels, p) for p in (expit(logits), calibrated(logits, calibration)))
    fitted_on = calibrated_checkpoint(args.calibration)
    other = fitted_on is not None and Path(fitted_on).resolve() != Path(args.resume).resolve()
    origin = {"file": args.calibration, "checkpoint": fitted_on, "of_another_checkpoint": other}
    return origin | calibration | {"ece_before": before, "ece_after": after}


def _protocol_differences(args: argparse.Namespace, data: DataSet, crops: Iterable[dict | None]) -> list[str]:
    """How a test with --protocol reference differs from the reference's test, one line each."""
    if args.protocol == "ours":
        return []
    lines = []
    if not data.image_level and not all(made and made.get("protocol") == "reference" for made in crops):
        lines.append("the reference crops every frame; extract the crops again with --protocol reference")
    if args.precision != "float16":
        lines.append(
            "the reference computes in float16 (P(fake) changes by a few 1e-3); give --precision float16 (CUDA)"
        )
    return lines


def _hint(data: DataSet, dropped: Sequence[Dropped]) -> str:
    """What to do if no image of a list exists."""
    if {drop.reason for drop in dropped} - {"duplicate"} != {"missing_file"}:
        return ""
    if data.name == "json":
        return "; set --data_root to the folder that the paths of the file start from"
    return "; SJEDD_check_data.py --txt_path_test LIST finds where they are" if data.name == "list" else ""
