"""Time how training reads face crops: decode, perturb, resize, collect batches. Prints one line of JSON.

read_ms, resize_ms, augment_ms: one image in one thread. images_per_s, images_per_s_per_worker: the whole loader with
--num_workers processes, without their start. jpg, png: files (JPEG of quality 95). cache: --crop_cache. cache_device:
the cache with --augment_on device, without the work on the device. Crops of a photograph, 317 x 317 pixels.
"""

import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import cv2
import numpy as np
import torch
from PIL import Image
from skimage.data import astronaut
from torch.utils.data import Dataset

from datasets.augmentation import augment
from datasets.crop_cache import image_source
from datasets.frames import EpochBatches, Frames, training_loader
from datasets.raw_frames import RawBatch, RawFrames
from datasets.records import DataSet, Record
from datasets.transforms import ImageFiles, ImageSource, resize_for_training
from utils.cli import ArgumentParser, positive_int, probability, script
from utils.cpu import default_workers

CROP = 317  # side in pixels of preprocessing's crops


def write_crops(folder: Path, n: int, suffix: str = "png") -> list[Record]:
    """Write ``n`` different crops of a photograph as records, 32 per video."""
    rng = np.random.default_rng(0)
    photograph = astronaut()
    records = []
    for i in range(n):
        y, x = rng.integers(np.array(photograph.shape[:2]) - CROP)
        path = folder / f"{i:05d}.{suffix}"
        Image.fromarray(photograph[y : y + CROP, x : x + CROP]).save(path, quality=95)
        records.append(Record(str(path), f"video{i // 32}", i % 2))
    return records


def milliseconds(function: Callable[[int], object], n: int) -> float:
    """Mean time of ``function(i)`` for i = 0..n-1."""
    started = time.perf_counter()
    for i in range(n):
        function(i)
    return (time.perf_counter() - started) / n * 1000


def loader_rate(frames: Dataset, args: object, epochs: int = 1) -> float:
    """Images per second of the training loader after its first batch."""
    batches = [batch for epoch in range(epochs) for batch in EpochBatches(len(frames), args.batch_size, 0, epoch)]
    loader = iter(training_loader(frames, batches, args.num_workers))
    next(loader)
    started = time.perf_counter()
    read = 0
    for images, indices, _ in loader:
        for group in images.groups if isinstance(images, RawBatch) else ():
            group.crops.to(torch.device("cpu"))  # one copy, as for a GPU
        read += len(indices)
    return read / (time.perf_counter() - started)


def figures_of(records: Sequence[Record], images: ImageSource, args: object) -> dict[str, float]:
    """Times of the steps and of the loader, for crops from ``images``."""
    few, image = min(100, args.images), images.read(0)
    return {
        "read_ms": milliseconds(lambda i: images.read(i).copy(), few),
        "resize_ms": milliseconds(lambda _: resize_for_training(image, args.size), few),
        "augment_ms": milliseconds(lambda i: augment(image, args.aug_probs, np.random.default_rng(i)), 10 * few),
        "images_per_s": loader_rate(Frames(records, args.size, args.aug_probs, images=images), args),
    }


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark; see --help."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=positive_int, default=2048, help="images read by the loader")
    parser.add_argument("--batch_size", type=positive_int, default=32, help="images per batch")
    parser.add_argument("--size", type=positive_int, default=224, help="side of the model's images")
    parser.add_argument("--aug_probs", type=probability, default=0.3, help="share of perturbed images")
    parser.add_argument("--num_workers", type=positive_int, default=default_workers(), help="reading processes")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("jpg", "png"):
            records = write_crops(Path(folder), args.images, suffix)
            figures[suffix] = figures_of(records, ImageFiles(records), args)
        with contextlib.redirect_stdout(sys.stderr):
            cached = image_source(DataSet("crops", records), str(Path(folder) / "cache"))
        figures["cache"] = figures_of(records, cached, args)
        whole = RawFrames(records, args.aug_probs, cached)
        figures["cache_device"] = {"images_per_s": loader_rate(whole, args, epochs=10)}
    for row in figures.values():
        row["images_per_s_per_worker"] = row["images_per_s"] / args.num_workers
    print(json.dumps({name: {key: round(value, 3) for key, value in row.items()} for name, row in figures.items()}))


if __name__ == "__main__":
    sys.exit(main())
