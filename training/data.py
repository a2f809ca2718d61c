"""The two lists of a training run and the batches made of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch.utils.data import DataLoader

from datasets.crop_cache import image_source
from datasets.device_augmentation import augmented
from datasets.frames import EpochBatches, Frames, batches_per_epoch, node_labels, scoring_loader, training_loader
from datasets.raw_frames import RawFrames
from datasets.readers.txt_list import read_txt_list
from datasets.records import DataSet, as_images
from datasets.transforms import normalise
from models.label_tree import FFSC, LabelTree
from training.provenance import fingerprint
from utils.cli import UserError
from utils.ranks import share, world_size

# images float32 [B, 3, S, S] as the model takes them, labels float32 [B, nodes], both on the training device; paths [B]
TrainingBatch = tuple[torch.Tensor, torch.Tensor, list[str]]


@dataclass(frozen=True)
class DataSettings:
    """The options of the command line with these names."""

    txt_path_train: str
    txt_path_val: str
    batch_size: int  # over all processes
    num_workers: int
    seed: int
    aug: bool
    aug_probs: float
    augment_on: str  # cpu | device
    crop_cache: str | None


class TrainingData:
    """The training and the validation list.

    Attributes:
        train_set, val_set: the records of the lists. FFSC's images belong to no videos, whatever their folders.
        hashes: fingerprints of the two lists, which do not depend on where the images are.
        steps: full batches in an epoch, at least 1.

    Raises:
        UserError: a list cannot be read, the validation list has one class only (no AUC exists), or a batch cannot be
            divided among the processes.
    """

    def __init__(self, settings: DataSettings, tree: LabelTree) -> None:
        self.settings = settings
        self.train_set = read_txt_list(settings.txt_path_train, tree, "train", labels_allowed=False)
        self.val_set = read_txt_list(settings.txt_path_val, tree, "val", labels_allowed=False)
        if tree in (FFSC, FFSC.root_only):
            self.train_set, self.val_set = as_images(self.train_set, "train"), as_images(self.val_set, "val")
        if len({record.label for record in self.val_set.records}) < 2:
            raise UserError(f"{settings.txt_path_val} holds one class only, so no AUC exists; list reals and fakes")
        n, size, processes = len(self.train_set.records), settings.batch_size, world_size()
        if min(size, n) % processes:
            raise UserError(
                f"a batch of {size} images cannot be shared by {processes} processes; give a --batch_size that "
                f"{processes} divides (and as many images)"
            )
        self.steps = batches_per_epoch(n, size)
        self.hashes = [_fingerprint(self.train_set), _fingerprint(self.val_set)]

    def open_images(self) -> None:
        """Build or open the crop caches that --crop_cache asks for. Call before ``batches``, in all processes."""
        self._train_images = image_source(self.train_set, self.settings.crop_cache)
        self._val_images = image_source(self.val_set, self.settings.crop_cache)

    def batches(
        self, size: int, device: torch.device, epoch: int, start: int = 0, stream: int = 0, every: int = 1
    ) -> Iterator[TrainingBatch]:
        """Yield this process's share of the batches of an epoch, from step ``start`` on.

        Args:
            size: side of the images in pixels.
            device: where images and labels go.
            stream: 0 for the training batches, 1 for the second batches: independent shuffles of the same list.
            every: keep one batch in this many, counted over the run; 0 keeps none.

        Raises:
            UserError: an image cannot be read.
        """
        settings, records = self.settings, self.train_set.records
        probability = settings.aug_probs if settings.aug else 0.0
        frames: Frames | RawFrames
        if settings.augment_on == "device":
            frames = RawFrames(records, probability, self._train_images)
            to_device = partial(augmented, size=size, device=device)
        else:
            frames = Frames(records, size, probability, images=self._train_images)
            to_device = partial(torch.Tensor.to, device=device, non_blocking=True)
        order = EpochBatches(len(records), settings.batch_size, settings.seed, epoch, stream, start, every)
        on_cuda = device.type == "cuda"
        for images, indices, unreadable in training_loader(frames, order, settings.num_workers, pin_memory=on_cuda):
            refuse_unreadable(unreadable, self.train_set, settings.txt_path_train)
            labels = node_labels(records, indices)
            if on_cuda:
                labels = labels.pin_memory()
            ready = normalise(to_device(images))
            yield ready, labels.to(device, non_blocking=True), [records[i].path for i in indices.tolist()]

    def validation_batches(self, size: int) -> DataLoader:
        """This process's share of the validation images, in order, see ``scoring_loader``."""
        frames = Frames(self.val_set.records, size, images=self._val_images)
        return scoring_loader(
            frames, self.settings.batch_size, self.settings.num_workers, indices=share(len(self.val_set.records))
        )


def refuse_unreadable(unreadable: Iterable[tuple[int, str]], data: DataSet, list_path: str) -> None:
    """Raises UserError for the first (index, reason), if any: training skips no image of its lists."""
    for index, reason in unreadable:
        raise UserError(f"{data.records[index].path} (in {list_path}): {reason}; fix the image or remove its line")


def _fingerprint(data: DataSet) -> str:
    """Does not change when the folder of the images moves."""
    return fingerprint(f"{'' if data.image_level else r.video} {r.frame} {r.code}" for r in data.records)
