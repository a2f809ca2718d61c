"""Self-blended pseudo-fakes: a changed copy of a face, laid back over the same face through a soft mask of its regions.

The changes are those of Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022: colour,
brightness, contrast, saturation, sharpness or resolution, JPEG, a small shift and scale, a deformed soft mask and a
drawn opacity. Two things differ. The mask is one of named regions, so that a label tree can name them too. And always
the copy is changed, never the original: outside the mask every pixel is that of the real image, and nothing but the
regions tells the two apart. (The paper changes the original as often, and its real counterpart with it.)
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from datasets.crop_settings import crop_scales
from datasets.face_regions import face_of, region_mask, template
from datasets.perturbations import record_rng
from datasets.records import DataSet, Record, node_code
from datasets.transforms import ImageSource, jpeg
from models.label_tree import TREES, LabelTree
from utils.cli import UserError

ATTRIBUTE = "physical inconsistency"  # the global attribute of a blend
NODES = {  # region of face_regions -> nodes of the tree; the mask of the mouth holds the lips
    "eyes": ("eye",),
    "eyebrows": ("eyebrow",),
    "nose": ("nose",),
    "lips": ("lip",),
    "mouth": ("lip", "mouth"),
    "skin": ("skin",),
}
WHOLE_FACE = 1 / 3  # share of the blends that take the whole face instead of up to MOST_REGIONS regions
MOST_REGIONS = 3
OPACITIES = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
STRENGTHS = {  # change -> the weakest and the strongest
    "colour": (5, 16),  # grey levels, up or down in each channel
    "brightness": (5, 25),  # grey levels, up or down
    "contrast": (0.06, 0.22),  # by which the factor about mid-grey differs from 1
    "saturation": (0.1, 0.4),  # by which the factor of the distance from grey differs from 1
    "sharpness": (0.4, 1.2),  # share of the detail that is added once more
    "resolution": (1.5, 4),  # factor of the downscaling
    "jpeg": (40, 90),  # quality
}
_DETAIL = ("sharpness", "resolution")  # one of them at most
_CHANGES = (2, 4)  # fewest and most changes of a copy, besides shift and scale
_SHIFT, _SCALE = 0.03, 0.05  # at most; the shift as a share of the crop's side
_GROW = (0.85, 1.15)  # factor on a region's radii
_FEATHER = (0.05, 0.12)  # standard deviation of the mask's soft edge, units of the face
_JITTER, _WAVES = 0.03, 0.06  # standard deviation of the landmarks' and of the mask's shifts, units of the face
_MASK_SIDE = 128  # px, in which a mask is drawn; its edges are soft, so it is enlarged without loss
_LUMA = np.array([0.299, 0.587, 0.114])
_STREAM = 1  # added to an item's draw: the augmentation of the item keeps its own random numbers


class Blend(NamedTuple):
    """Everything that was drawn for one image. Its size plays no part."""

    regions: tuple[str, ...]  # of face_regions
    code: str  # node vector as digits, see Record
    scale: float  # of the crop, see face_regions.template
    opacity: float  # 0..1
    changes: dict[str, tuple[float, ...]]  # name, as in STRENGTHS -> what it is applied with; colour has three values
    shift: tuple[float, float]  # (x, y) of the copy, as a share of the crop's sides
    zoom: float  # of the copy
    grow: float
    feather: float
    jitter: np.ndarray  # [5, 2] shift of each landmark, units of the face
    waves: np.ndarray  # [4, 4, 2] shifts of the mask on a coarse grid, units of the face

    def __str__(self) -> str:
        """For people: regions, changes, opacity."""
        changes = [f"{name} {'/'.join(f'{value:.2g}' for value in values)}" for name, values in self.changes.items()]
        moved = f"shift {100 * self.shift[0]:+.1f}/{100 * self.shift[1]:+.1f}%, scale {100 * self.zoom - 100:+.1f}%"
        return f"{' + '.join(self.regions)}: {', '.join(changes)}, {moved}; opacity {self.opacity:g}"


class SelfBlending:
    """Which real images of a list become pseudo-fakes, how, and with which label.

    Args:
        records: The list. Their crops must be aligned as those of preprocessing/extract_faces.py.
        tree: The run's, perhaps a variant. The label of a blend has its nodes alone.
        share: Of the real images, 0..1; of ``drawn``.

    Raises:
        UserError: The tree has no attribute ``physical inconsistency``.
    """

    def __init__(self, records: Sequence[Record], tree: LabelTree, share: float = 0.0) -> None:
        self._records, self._tree, self._share = records, tree, share
        self._allowed = TREES[tree.family].edges.get(ATTRIBUTE, ())
        if not self._allowed:
            raise UserError(f"--self_blend labels blends as {ATTRIBUTE}, which the {tree.family} tree lacks; drop it")
        self._regions = [region for region, nodes in NODES.items() if set(nodes) <= set(self._allowed)]
        self._scales = crop_scales(records)

    def drawn(self, index: int, draw: tuple[int, ...]) -> Blend | None:
        """The blend of an item (see ``Frames``), which depends on the item alone; None for one that stays as it is."""
        record = self._records[index]
        if record.label:
            return None
        rng = np.random.default_rng((*draw, _STREAM))
        return self._blend(record, rng) if rng.random() < self._share else None

    def fixed(self, index: int) -> Blend:
        """The one blend of a record for validation. It depends on the record's video and frame alone."""
        record = self._records[index]
        return self._blend(record, record_rng(0, "self_blend", record))

    def code(self, regions: Sequence[str]) -> str:
        """The label of a blend: fake, physical inconsistency, those regions; of the whole face, all that may be."""
        named = self._allowed if "face" in regions else [node for region in regions for node in NODES[region]]
        on = {self._tree.nodes[0], ATTRIBUTE, *named}
        return node_code(np.array([node in on for node in self._tree.nodes]))

    def _blend(self, record: Record, rng: np.random.Generator) -> Blend:
        if rng.random() < WHOLE_FACE:
            regions: tuple[str, ...] = ("face",)
        else:
            count = rng.integers(1, min(MOST_REGIONS, len(self._regions)) + 1)
            regions = tuple(self._regions[i] for i in sorted(rng.permutation(len(self._regions))[:count]))
        scale = self._scales[os.path.dirname(os.path.dirname(record.path))]  # noqa: PTH120 - quicker than Path
        return Blend(
            regions=regions,
            code=self.code(regions),
            scale=scale,
            opacity=OPACITIES[rng.integers(len(OPACITIES))],
            changes=_draw_changes(rng),
            shift=tuple(rng.uniform(-_SHIFT, _SHIFT, 2).tolist()),
            zoom=float(rng.uniform(1 - _SCALE, 1 + _SCALE)),
            grow=float(rng.uniform(*_GROW)),
            feather=float(rng.uniform(*_FEATHER)),
            jitter=rng.normal(0, _JITTER, (5, 2)),
            waves=rng.normal(0, _WAVES, (4, 4, 2)),
        )


def _draw_changes(rng: np.random.Generator) -> dict[str, tuple[float, ...]]:
    """Draw which changes are made and how strongly; they stand in the order in which they are applied."""
    left_out = _DETAIL[rng.integers(2)]
    kinds = [name for name in STRENGTHS if name != left_out]
    chosen = sorted(rng.permutation(len(kinds))[: rng.integers(_CHANGES[0], _CHANGES[1] + 1)])
    changes = {}
    for name in (kinds[i] for i in chosen):
        values = rng.uniform(*STRENGTHS[name], 3 if name == "colour" else 1)
        if name in ("colour", "brightness", "contrast", "saturation"):
            values *= 2 * rng.integers(2, size=len(values)) - 1
        changes[name] = tuple(values.tolist())
    return changes


def apply_blend(image: np.ndarray, blend: Blend) -> np.ndarray:
    """Blend a crop, uint8 [H, W, 3] RGB, with its changed copy; the result is new and has the same shape and dtype.

    Pixels where ``blend_mask`` is 0 keep their values.
    """
    height, width = image.shape[:2]
    mask = blend_mask(blend, height, width)
    left, top, across, down = cv2.boundingRect((mask > 0).astype(np.uint8))
    box = slice(top, top + down), slice(left, left + across)
    # Where a pixel of the box comes from: (x, y) = centre + ((x, y) of the crop - centre - shift) / zoom.
    centre = np.array([width, height]) / 2
    origin = centre + ([left, top] - centre - np.multiply(blend.shift, [width, height])) / blend.zoom
    matrix = np.column_stack([np.eye(2) / blend.zoom, origin])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(image, matrix, (across, down), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    copy, base = changed(moved, blend.changes).astype(np.float32), image[box].astype(np.float32)
    out = image.copy()
    out[box] = np.rint(base + mask[box][..., None] * (copy - base))
    return out


def blend_mask(blend: Blend, height: int, width: int) -> np.ndarray:
    """The weights of the copy in a crop: [height, width] float32 from 0 to the blend's opacity."""
    side = _MASK_SIDE
    points = template(side, blend.scale)
    unit = face_of(points).unit
    points = points + unit * blend.jitter
    mask = np.maximum.reduce([region_mask(region, points, side, blend.grow) for region in blend.regions])
    waves = cv2.resize(unit * blend.waves, (side, side), interpolation=cv2.INTER_CUBIC)
    places = (waves + np.moveaxis(np.mgrid[:side, :side][::-1], 0, 2)).astype(np.float32)
    mask = cv2.remap(mask, places, None, cv2.INTER_LINEAR)
    mask = cv2.GaussianBlur(mask, (0, 0), unit * blend.feather)
    return cv2.resize(mask * (blend.opacity / mask.max()), (width, height))


def changed(image: np.ndarray, changes: dict[str, tuple[float, ...]]) -> np.ndarray:
    """Apply the changes of a blend to uint8 [H, W, 3] RGB -> the same shape and dtype."""
    # All changes of the tone are one matrix [3, 4]. Saturation mixes with the luma (ITU-R BT.601).
    saturation, contrast = (1 + changes.get(name, (0,))[0] for name in ("saturation", "contrast"))
    offsets = np.add(changes.get("colour", (0, 0, 0)), changes.get("brightness", (0,))) + 128 * (1 - contrast)
    matrix = contrast * (saturation * np.eye(3) + (1 - saturation) * _LUMA)
    pixels = cv2.transform(image.astype(np.float32), np.column_stack([matrix, offsets]))
    height, width = image.shape[:2]
    if "sharpness" in changes:
        pixels += changes["sharpness"][0] * (pixels - cv2.GaussianBlur(pixels, (0, 0), width / 150))
    if "resolution" in changes:
        small = [max(round(length / changes["resolution"][0]), 1) for length in (width, height)]
        pixels = cv2.resize(cv2.resize(pixels, small, interpolation=cv2.INTER_AREA), (width, height))
    pixels = np.rint(pixels).clip(0, 255).astype(np.uint8)
    return jpeg(pixels, round(changes["jpeg"][0])) if "jpeg" in changes else pixels


def with_fixed_blends(data: DataSet, blending: SelfBlending) -> DataSet:
    """A list of reals followed by the ``fixed`` blend of each, of a video of its own. Read by ``FixedBlends``."""
    blends = [
        replace(
            record,
            path=f"{record.path} (self-blended)",
            video=f"{record.video} (self-blended)",
            label=1,
            code=blending.fixed(index).code,
            method="self-blended",
        )
        for index, record in enumerate(data.records)
    ]
    note = f"it lists no fakes: a fixed self-blend of each of its {len(blends)} images is added"
    return replace(data, records=[*data.records, *blends], notes=(*data.notes, note))


class FixedBlends:
    """The image source of a list ``with_fixed_blends``. images: Of the ``n`` reals."""

    def __init__(self, images: ImageSource, n: int, blending: SelfBlending) -> None:
        self._source, self._n, self._blending = images, n, blending

    def read(self, index: int) -> np.ndarray:
        image = self._source.read(index % self._n)
        return image if index < self._n else apply_blend(image, self._blending.fixed(index - self._n))
