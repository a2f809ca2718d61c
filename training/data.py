"""The training and validation list of a run, and their batches."""

import argparse
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from datasets.augmentation import QUALITIES
from datasets.checks.findings import one_class
from datasets.crop_cache import image_source
from datasets.device_augmentation import augmented
from datasets.frames import EpochBatches, Frames, batches_per_epoch, node_labels, scoring_loader, training_loader
from datasets.raw_frames import RawFrames
from datasets.readers.txt_list import read_txt_list
from datasets.records import DataSet, as_images
from datasets.sampling import sampling
from datasets.self_blending import FixedBlends, SelfBlending, with_fixed_blends
from datasets.transforms import normalise
from models.label_tree import FFSC, LabelTree
from training.list_methods import methods_of
from training.provenance import fingerprint
from utils.cli import UserError
from utils.ranks import share, world_size

# images float32 [B, 3, S, S], CLIP-normalised, labels float32 [B, nodes], both on the training device; paths [B]
TrainingBatch = tuple[torch.Tensor, torch.Tensor, list[str]]

_REALS_ALONE = "; or train on reals alone with --self_blend 0.5 --real_only"


class TrainingData:
    """The training and the validation list.

    Attributes:
        train_set, val_set: the lists' records. FFSC's images belong to no videos, whatever their folders.
        hashes: fingerprints of the two lists, which do not change when the images move to another folder.
        sampling: how the epochs of the training list are drawn.
        steps: full batches in an epoch, at least 1.
        blending: the pseudo-fakes of --self_blend; None without it.

    With --real_only, a validation list of reals alone gets a blend of each image.

    Raises:
        UserError: a list cannot be read or has one class only, the two lists are one file, --self_blend does not suit
            the tree, or a batch cannot be divided among the processes.
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
        self._require_classes()
        records, size = self.train_set.records, args.batch_size
        self.blending = SelfBlending(records, tree, args.self_blend) if args.self_blend else None
        methods = methods_of(records) if args.balance_methods else None
        self.sampling = sampling(records, args.pairs, methods)
        n, processes = self.sampling.length, world_size()
        multiple = processes * (2 if args.pairs else 1)  # a pair stays in one process
        if min(size, n) % multiple:
            raise UserError(
                f"a batch of {min(size, n)} images cannot be divided among {processes} processes; give a --batch_size "
                f"that is a multiple of {multiple} (and a list of at least as many images)"
            )
        self.steps = batches_per_epoch(n, size)
        self.hashes = [
            fingerprint(f"{'' if data.image_level else r.video} {r.frame} {r.code}" for r in data.records)
            for data in (self.train_set, self.val_set)
        ]
        self._listed_for_val, self._val_blending = self.val_set, None
        if all(record.label == 0 for record in self.val_set.records):
            self._val_blending = SelfBlending(self.val_set.records, tree)
            self.val_set = with_fixed_blends(self.val_set, self._val_blending)

    def _require_classes(self) -> None:
        """Both classes in each list; with --real_only reals alone in the training list, perhaps in the other too."""
        if self.args.real_only and (fakes := sum(record.label for record in self.train_set.records)):
            what = f"{self.train_set.source} lists {fakes} fakes, and --real_only is for a list of reals alone"
            raise UserError(f"{what}; drop --real_only, or list the reals in another file")
        for data in (self.train_set, self.val_set):
            labels = [record.label for record in data.records]
            if self.args.real_only and not any(labels):
                continue
            for finding in one_class(data.source, labels):
                advice = _REALS_ALONE if data is self.train_set and not any(labels) else ""
                raise UserError(f"{finding.path} {finding.message}; {finding.fix}{advice}")

    def open_images(self) -> None:
        """Build or open the crop caches that --crop_cache asks for. All processes call it, before ``batches``."""
        self._train_images = image_source(self.train_set, self.args.crop_cache)
        self._val_images = image_source(self._listed_for_val, self.args.crop_cache)
        if self._val_blending:
            n = len(self._listed_for_val.records)
            self._val_images = FixedBlends(self._val_images, n, self._val_blending)

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
        qualities = range(args.jpeg[0], args.jpeg[1] + 1) if args.jpeg else QUALITIES
        frames: Frames | RawFrames
        if args.augment_on == "device":
            frames = RawFrames(records, probability, self._train_images, args.flip, qualities, self.blending)
            to_device = partial(augmented, size=size, device=device)
        else:
            frames = Frames(
                records,
                size,
                probability,
                images=self._train_images,
                flip=args.flip,
                qualities=qualities,
                blending=self.blending,
            )
            to_device = partial(torch.Tensor.to, device=device, non_blocking=True)
        length, order = self.sampling.length, self.sampling.order
        epoch_batches = EpochBatches(length, args.batch_size, args.seed, epoch, stream, start, every, order)
        on_cuda = device.type == "cuda"
        loader = training_loader(frames, epoch_batches, args.num_workers, on_cuda)
        for items, (images, indices, unreadable) in zip(epoch_batches, loader, strict=True):
            refuse_unreadable(unreadable, self.train_set, args.txt_path_train)
            labels = node_labels(self._code(*item) for item in items)
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

    def _code(self, index: int, draw: tuple[int, ...]) -> str:
        """The node code of an item as trained: of its record, or of its blend."""
        blend = self.blending.drawn(index, draw) if self.blending else None
        return blend.code if blend else self.train_set.records[index].code

    def validation_batches(self, size: int) -> DataLoader:
        """This process's share of the validation images, in order, see ``scoring_loader``."""
        records = self.val_set.records
        frames = Frames(records, size, images=self._val_images)
        return scoring_loader(frames, self.args.batch_size, self.args.num_workers, indices=share(len(records)))


def refuse_unreadable(unreadable: Iterable[tuple[int, str]], data: DataSet, list_path: str) -> None:
    """Raises UserError for the first (index, reason), if any: training does not skip images of its lists."""
    for index, reason in unreadable:
        raise UserError(f"{data.records[index].path} (in {list_path}): {reason}; fix the image or remove its line")
