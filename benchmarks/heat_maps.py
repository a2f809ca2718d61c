"""Measure how much of a node's heat map lies on the transplanted region, against chance.

python benchmarks/heat_maps.py --data_root data/demo --resume output/demo/train/demo/ckpt_best.pth --split train

Takes the images of preprocessing/expand_FFpp.py, in which one known region is fake, and the real crops beneath them.
Prints JSON: region -> node -> {images, area (of the mask), lift (share of the map inside the mask / area, mean),
at_least_2 (share of the images whose lift is), lift_on_real (the same mask on the real crops)}.
"""

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import cv2
import numpy as np
import torch

from datasets.face_regions import region_mask
from datasets.readers.ffpp import SPLITS, ffpp_root
from datasets.transforms import normalise, read_image, resize
from models.checkpoint import load_model
from models.heat_maps import heat_maps
from models.scoring import encode_text
from preprocessing.extraction.manifest import POINTS
from utils.cli import ArgumentParser, UserError, positive_int, script

NODES = {"eyes": ("eye",), "nose": ("nose",), "mouth": ("mouth", "lip")}
BATCH = 20


def get_args_parser() -> ArgumentParser:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data_root", type=Path, default=Path("data/demo"), help="folder that holds FF++")
    parser.add_argument("--resume", metavar="CKPT", required=True, help="checkpoint of the FF++ tree")
    parser.add_argument("--split", choices=SPLITS, default="train", help="which expansion")
    parser.add_argument("--compression", choices=("c23", "c40", "raw"), default="c23", help="which crops")
    parser.add_argument("--n_images", type=positive_int, default=60, help="of each region")
    return parser


def read_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of an expansion's manifest."""
    try:
        with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"cannot read {folder}/manifest.csv ({error.strerror}); run expand_FFpp.py first") from error


def mask_of(row: dict[str, str], size: int) -> np.ndarray:
    """The transplanted region in an image resized to ``size``, [size, size] float32."""
    points = np.array([[float(row[f"{point}_{axis}"]) for axis in "xy"] for point in POINTS])
    side = read_image(row["image"]).shape[0]
    return cv2.resize(
        region_mask(row["region"], points, side, float(row["grow"])), (size, size), interpolation=cv2.INTER_AREA
    )


@script
def main(argv: Sequence[str] | None = None) -> None:
    """Measure; see --help."""
    args = get_args_parser().parse_args(argv)
    model = load_model(args.resume)
    text = encode_text(model)
    folder = ffpp_root(args.data_root) / "expansion" / args.compression / args.split
    rows, rng, results = read_rows(folder), np.random.default_rng(0), {}
    for region, nodes in NODES.items():
        drawn = rng.permutation([i for i, row in enumerate(rows) if row["region"] == region])[: args.n_images]
        lifts: dict[tuple[str, str], list[float]] = {(node, kind): [] for node in nodes for kind in ("fake", "real")}
        areas = []
        for start in range(0, len(drawn), BATCH):
            batch = [rows[i] | {"image": str(folder / rows[i]["path"])} for i in drawn[start : start + BATCH]]
            masks = torch.from_numpy(np.stack([mask_of(row, model.image_size) for row in batch]))
            areas += masks.mean(dim=(1, 2)).tolist()
            for kind in ("fake", "real"):
                paths = [row["image"] if kind == "fake" else args.data_root / row["real"] for row in batch]
                images = np.stack([resize(read_image(path), model.image_size).transpose(2, 0, 1) for path in paths])
                maps = heat_maps(model, normalise(torch.from_numpy(images)), text)
                for node in nodes:
                    inside = (maps[:, model.tree.nodes.index(node)] * masks).sum(dim=(1, 2))
                    lifts[node, kind] += (inside / masks.mean(dim=(1, 2))).tolist()
        results[region] = {
            node: {
                "images": len(drawn),
                "area": round(float(np.mean(areas)), 4),
                "lift": round(float(np.mean(lifts[node, "fake"])), 2),
                "at_least_2": round(float(np.mean(np.array(lifts[node, "fake"]) >= 2)), 2),
                "lift_on_real": round(float(np.mean(lifts[node, "real"])), 2),
            }
            for node in nodes
        }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    sys.exit(main())
