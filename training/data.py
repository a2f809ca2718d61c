"""The training and validation list of a run, and their batches."""

import argparse
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from datasets.checks.findings import one_class
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

# images float32 [B, 3, S, S], CLIP-normalised, labels float32 [B, nodes], both on the training device; paths [B]
TrainingBatch = tuple[torch.Tensor, torch.Tensor, list[str]]


class TrainingData:
    """The training and the validation list.

    Attributes:
        train_set, val_set: the lists' records. FFSC's images belong to no videos, whatever their folders.
        hashes: fingerprints of the two lists, which do not change when the images move to another folder.
        steps: full batches in an epoch, at least 1.

    Raises:
        UserError: a list cannot be read or has one class only, the two lists are one file, or a batch cannot be
            divided among the processes.
    """

    def __init__(self, args: argparse.Namespace, tree: LabelTree) -> None:
        self.args = args
        self.train_set = read_txt_list(args.txt_path_train, tree, "train", labels_allowed=False)
        self.val_set = read_txt_list(args.txt_path_val, tree, "val", labels_allowed=False)
        if tree.family == FFSC.name:
            self.train_set, self.val_set = as_images(self.train_set, "train"), as_images(self.val_set, "val")
        if Path(args.txt_path_train).samefile(args.txt_path_val):
            both = f"{args.txt_path_train} (--txt_path_train) and {args.txt_path_val} (--txt_path_val)"
            fix = "give a validation list of other videos: preprocessing/make_lists.py writes both into a new folder"
            raise UserError(f"the two lists are one file: {both}; {fix}")
        for data in (self.train_set, self.val_set):
            for finding in one_class(data.source, [record.label for record in data.records]):
                raise UserError(f"{finding.path} {finding.message}; {finding.fix}")
        n, size, processes = len(self.train_set.records), args.batch_size, world_size()
        if min(size, n) % processes:
            raise UserError(
                f"a batch of {min(size, n)} images cannot be divided among {processes} processes; give a --batch_size "
                f"that is a multiple of {processes} (and a list of at least as many images)"
            )
        self.steps = batches_per_epoch(n, size)
        self.hashes = [
            fingerprint(f"{'' if data.image_level else r.video} {r.frame} {r.code}" for r in data.records)
            for data in (self.train_set, self.val_set)
        ]

    def open_images(self) -> None:
        """Build or open the crop caches that --crop_cache asks for. All processes call it, before ``batches``."""
        self._train_images = image_source(self.train_set, self.args.crop_cache)
        self._val_images = image_source(self.val_set, self.args.crop_cache)

    def batches(
        self, size: int, device: torch.device, epoch: int, start: int = 0, stream: int = 0, every: int = 1
    ) -> Iterator[TrainingBatch]:
        """Yield this process's share of the batches of an epoch, from step ``start`` on.

        Args:
            size: side of the images in pixels.
            stream: 0 for the training batches, 1 for the second batches: independent shuffles of the same list.
            every: keep one batch in this many, counted over the run; 0: keep none.

        Raises UserError if an image cannot be read.
        """
        args, records = self.args, self.train_set.records
        probability = args.aug_probs if args.aug else 0.0
        frames: Frames | RawFrames
        if args.augment_on == "device":
            frames = RawFrames(records, probability, self._train_images)
            to_device = partial(augmented, size=size, device=device)
        else:
            frames = Frames(records, size, probability, images=self._train_images)
            to_device = partial(torch.Tensor.to, device=device, non_blocking=True)
        order = EpochBatches(len(records), args.batch_size, args.seed, epoch, stream, start, every)
        on_cuda = device.type == "cuda"
        for images, indices, unreadable in training_loader(frames, order, args.num_workers, pin_memory=on_cuda):
            refuse_unreadable(unreadable, self.train_set, args.txt_path_train)
            labels = node_labels(records, indices)
            if on_cuda:
                labels = labels.pin_memory()
            ready = normalise(to_device(images))
            yield ready, labels.to(device, non_blocking=True), [records[i].path for i in indices.tolist()]

    def sample(self, size: int, device: torch.device, n: int = 32) -> torch.Tensor:
        """Training images at equal distances in the list, the same in all processes, float32 [n, 3, size, size].

        Raises UserError if an image cannot be read.
        """
        records = self.train_set.records
        places = np.linspace(0, len(records) - 1, min(n, len(records)), dtype=int).tolist()
        frames = Frames(records, size, images=self._train_images)
        images, _, unreadable = Frames.collate([frames[place, None] for place in places])
        refuse_unreadable(unreadable, self.train_set, self.args.txt_path_train)
        return normalise(images.to(device))

    def validation_batches(self, size: int) -> DataLoader:
        """This process's share of the validation images, in order, see ``scoring_loader``."""
        records = self.val_set.records
        frames = Frames(records, size, images=self._val_images)
        return scoring_loader(frames, self.args.batch_size, self.args.num_workers, indices=share(len(records)))


def refuse_unreadable(unreadable: Iterable[tuple[int, str]], data: DataSet, list_path: str) -> None:
    """Raises UserError for the first (index, reason), if any: training does not skip images of its lists."""
    for index, reason in unreadable:
        raise UserError(f"{data.records[index].path} (in {list_path}): {reason}; fix the image or remove its line")
