"""The people of the demonstration data set: two public-domain photographs and clear variations of them.

Everyone is drawn on a canvas where faces are aligned: the landmarks of the two photographs lie on align.template, those
of a variation close to it. Lengths are in eye distances, images RGB.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import cv2
import matplotlib
import numpy as np
import skimage.data

from datasets.face_regions import template
from preprocessing.detection.align import similarity_matrix
from utils.images import read_rgb

CANVAS = 320  # px, side of the aligned canvas; its rim leaves room for pose and motion
CANVAS_SCALE = 1.865  # of align.template: the eyes are 54 px apart
GRID = 4  # px, step of the small grid on which warps are computed
POINTS = template(CANVAS, CANVAS_SCALE)
EYE_DISTANCE = float(POINTS[1, 0] - POINTS[0, 0])
# Landmarks in the photographs (both eyes, nose, both mouth corners), found with MTCNN.
ASTRONAUT_POINTS = [[205.3, 102.0], [247.3, 104.0], [225.9, 129.1], [202.7, 139.9], [245.7, 142.1]]
HOPPER_POINTS = [[221.0, 191.0], [309.3, 186.8], [268.9, 238.0], [231.0, 280.8], [307.9, 277.8]]
# Points that a warp moves: (nearest landmark, shift from there, radius), in eye distances.
HANDLES = {
    "left_corner": (3, (0.0, 0.0), 0.20), "right_corner": (4, (0.0, 0.0), 0.20),
    "upper_lip": (3, (0.41, -0.08), 0.18), "lower_lip": (3, (0.41, 0.14), 0.20), "chin": (3, (0.41, 0.55), 0.35),
    "left_brow": (0, (-0.05, -0.32), 0.25), "right_brow": (1, (0.05, -0.32), 0.25),
    "left_lid": (0, (0.0, -0.07), 0.12), "right_lid": (1, (0.0, -0.07), 0.12),
    "left_eye": (0, (0.0, 0.0), 0.28), "right_eye": (1, (0.0, 0.0), 0.28),
    "left_jaw": (3, (-0.30, 0.15), 0.45), "right_jaw": (4, (0.30, 0.15), 0.45),
    "left_cheek": (0, (-0.40, 0.45), 0.40), "right_cheek": (1, (0.40, 0.45), 0.40),
    "left_wing": (2, (-0.22, 0.05), 0.14), "right_wing": (2, (0.22, 0.05), 0.14), "nose": (2, (0.0, 0.02), 0.22),
    "crown": (2, (0.0, -1.75), 0.80),
}  # fmt: skip


class Tone(NamedTuple):
    """A change of colours in CIELAB."""

    lightness: float = 1.0  # factor
    chroma: float = 1.0  # factor
    hue: float = 0.0  # turn, degrees


class Person(NamedTuple):
    """A photograph and what makes it another person."""

    photo: int  # 0: the astronaut, 1: Grace Hopper
    shape: dict[str, tuple[float, float]]  # handle -> shift; of a pair "left_..." and "right_...", the left one's
    skin: Tone = Tone()
    rest: Tone = Tone()  # hair, clothes, background
    lines: float = 1.0  # factor on lines and spots of the skin


PEOPLE = (
    Person(0, {}),
    Person(1, {}),
    Person(
        0,
        {"jaw": (-0.20, 0.10), "chin": (0, 0.20), "cheek": (-0.12, 0), "wing": (-0.07, 0), "nose": (0, 0.07),
         "corner": (0.09, 0), "brow": (0, 0.06), "upper_lip": (0, -0.05), "lower_lip": (0, 0.03), "crown": (0, 0.30)},
        skin=Tone(0.72, 0.95, 4), rest=Tone(0.55, 0.6), lines=1.5,
    ),
    Person(
        1,
        {"jaw": (-0.14, 0.0), "chin": (0, -0.16), "cheek": (-0.14, 0), "eye": (-0.05, 0), "wing": (0.05, 0),
         "nose": (0, -0.07), "lower_lip": (0, 0.05), "corner": (-0.04, -0.03)},
        skin=Tone(1.12, 0.75, 4), rest=Tone(1.2, 0.8, -25), lines=0.25,
    ),
    Person(
        0,
        {"jaw": (0.08, 0), "chin": (0, 0.06), "cheek": (0.04, 0), "eye": (0.02, 0), "wing": (0.03, 0),
         "nose": (0, 0.04), "corner": (0.02, 0), "brow": (0, -0.04), "crown": (0, -0.12)},
        skin=Tone(0.98, 0.75, -8), rest=Tone(0.8, 1.4, -35), lines=1.0,
    ),
    Person(
        1,
        {"jaw": (0.12, 0.10), "chin": (0, 0.24), "cheek": (0.08, 0), "eye": (0.04, 0), "wing": (-0.06, 0),
         "nose": (0, 0.06), "upper_lip": (0, -0.03), "lower_lip": (0, 0.02), "brow": (0, 0.05)},
        skin=Tone(0.62, 0.9), rest=Tone(0.7, 0.6, 15), lines=0.6,
    ),
)  # fmt: skip


def photographs() -> tuple[np.ndarray, np.ndarray]:
    """The astronaut [512, 512, 3] of scikit-image and Grace Hopper [600, 512, 3] of matplotlib, uint8 RGB."""
    hopper = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    return skimage.data.astronaut(), read_rgb(hopper)


@functools.cache
def portrait(index: int) -> np.ndarray:
    """A person of PEOPLE on the canvas, [CANVAS, CANVAS, 3] uint8 RGB; all are about equally sharp."""
    person = PEOPLE[index]
    points, blur = ((ASTRONAUT_POINTS, 0.0), (HOPPER_POINTS, 0.8))[person.photo]
    matrix = similarity_matrix(np.array(points), 2 * CANVAS, CANVAS_SCALE)
    photo = photographs()[person.photo]
    large = cv2.warpAffine(photo, matrix, (2 * CANVAS, 2 * CANVAS), borderMode=cv2.BORDER_REFLECT)
    canvas = cv2.resize(large, (CANVAS, CANVAS), interpolation=cv2.INTER_AREA)
    canvas = recolour(cv2.GaussianBlur(canvas, (0, 0), blur) if blur else canvas, person)
    shifts = {}
    for name, (x, y) in person.shape.items():
        shifts |= {name: (x, y)} if name in HANDLES else {f"left_{name}": (x, y), f"right_{name}": (-x, y)}
    return warp(canvas, shifts)


def recolour(canvas: np.ndarray, person: Person) -> np.ndarray:
    """Give a canvas [CANVAS, CANVAS, 3] uint8 RGB the colours and lines of a person. Returns the same shape."""
    smooth = cv2.bilateralFilter(canvas, 9, 40, 5)
    lab, smooth_lab = (cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for image in (canvas, smooth))
    skin = skin_mask(smooth_lab)
    lab += (person.lines - 1) * skin * (lab - smooth_lab)
    mixed = skin * _toned(lab, person.skin) + (1 - skin) * _toned(lab, person.rest)
    rgb = cv2.cvtColor(mixed.astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


def skin_mask(lab: np.ndarray) -> np.ndarray:
    """The skin of the face in a canvas, with eyes and mouth: bright, of a warm colour, near the middle.

    lab: [CANVAS, CANVAS, 3] float32 CIELAB. Returns [CANVAS, CANVAS, 1] float32 in 0..1.
    """
    y, x = np.mgrid[0:CANVAS, 0:CANVAS]
    away = np.hypot((x - POINTS[2, 0]) / 1.35, (y - POINTS[2, 1] - 0.1 * EYE_DISTANCE) / 1.8) / EYE_DISTANCE
    bright = np.clip((lab[..., 0] - 52) / 12, 0, 1) * np.clip((lab[..., 1] - 2) / 4, 0, 1)
    # Closing fills lines, eyes and lips; hair and hats are larger.
    skin = cv2.morphologyEx(bright, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (25, 25)))
    return cv2.GaussianBlur((skin * (away < 1)).astype(np.float32), (0, 0), 3)[..., None]


def _toned(lab: np.ndarray, tone: Tone) -> np.ndarray:
    angle = np.deg2rad(tone.hue)
    turn = tone.chroma * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.concatenate([lab[..., :1] * tone.lightness, lab[..., 1:] @ turn.T], axis=-1)


@functools.cache
def _handle_weight(name: str) -> np.ndarray:
    """How far a handle moves the points of the small grid, [CANVAS/GRID, CANVAS/GRID] in 0..1."""
    landmark, offset, radius = HANDLES[name]
    grid = np.mgrid[0:CANVAS:GRID, 0:CANVAS:GRID][::-1]  # x, y
    centre = POINTS[landmark] + np.array(offset) * EYE_DISTANCE
    away = (grid - centre[:, None, None]) / (radius * EYE_DISTANCE)
    return np.exp(-(away**2).sum(axis=0) / 2)


def warp(canvas: np.ndarray, shifts: dict[str, np.ndarray | tuple[float, float]]) -> np.ndarray:
    """Move handles of a canvas [CANVAS, CANVAS, 3] uint8. shifts: handle -> (x, y). Returns the same shape."""
    grid = np.mgrid[0:CANVAS:GRID, 0:CANVAS:GRID][::-1].astype(np.float64)
    for name, shift in shifts.items():
        grid -= EYE_DISTANCE * np.reshape(shift, (2, 1, 1)) * _handle_weight(name)
    # The first value of the small grid belongs to pixel 0, but cv2.resize puts it at (GRID - 1) / 2.
    x, y = (cv2.resize((axis + (GRID - 1) / 2).astype(np.float32), (CANVAS, CANVAS)) for axis in grid)
    return cv2.remap(canvas, x, y, cv2.INTER_LINEAR)
