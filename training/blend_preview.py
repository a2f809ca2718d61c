"""The picture of --preview: some training images as --self_blend makes them."""

import itertools
from pathlib import Path

import cv2

from datasets.frames import EpochBatches
from datasets.self_blending import apply_blend, blend_mask
from datasets.transforms import ImageError, ImageFiles
from preprocessing.expansion.preview import tinted, write_sheet
from training.data import TrainingData, refuse_unreadable
from utils.cli import UserError
from utils.files import output_dir
from utils.terminal import say

_ROWS = 8


def write_preview(path: Path, data: TrainingData) -> None:
    """Write a PNG of the first blends of epoch 0: original, mask, result.

    Raises UserError without --self_blend, if the epoch has no blend, or if an image cannot be read.
    """
    args, records = data.args, data.train_set.records
    if data.blending is None:
        raise UserError("--preview shows the images of --self_blend; give both")
    files, rows = ImageFiles(records), []
    items = itertools.chain.from_iterable(EpochBatches(len(records), args.batch_size, args.seed, epoch=0))
    for index, draw in items:
        if (blend := data.blending.drawn(index, draw)) is None:
            continue
        try:
            image = files.read(index)
        except ImageError as error:
            refuse_unreadable([(index, str(error))], data.train_set, args.txt_path_train)
        original, result = (cv2.cvtColor(each, cv2.COLOR_RGB2BGR) for each in (image, apply_blend(image, blend)))
        rows.append((str(blend), (original, tinted(original, blend_mask(blend, *image.shape[:2])), result)))
        if len(rows) == _ROWS:
            break
    if not rows:
        raise UserError(f"epoch 0 has no blend to draw; raise --self_blend {args.self_blend:g}")
    output_dir(path.parent)
    write_sheet(path, ("original", "mask", "result"), rows)
    say(f"preview: {path}")
