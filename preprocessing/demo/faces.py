"""Pictures of the demonstration data set: varied faces of its people, and imitated manipulations.

Faces are drawn on the canvas of people.py, where one person's face can be laid over another's. Pose, light, sharpness
and noise come last, for reals and fakes alike. Lengths are in eye distances, colours in 0..255, images RGB. A pair
(a, b) is a range of uniform random draws.
"""

from typing import NamedTuple, TypedDict

import cv2
import numpy as np

from preprocessing.demo.people import CANVAS, EYE_DISTANCE, POINTS, portrait, warp


class Strength(TypedDict):
    """How visible a manipulation is."""

    pixels_across: tuple[float, float]  # resolution of the new part, as pixels over the face's width
    seam: tuple[float, float]  # blur of its edge, px
    colour_match: tuple[float, float]  # how far its colours follow the target's
    colour_error: float  # standard deviation


STRENGTHS: dict[str, Strength] = {
    "Deepfakes": {"pixels_across": (23, 34), "seam": (4.0, 8.0), "colour_match": (0.7, 1.0), "colour_error": 5.5},
    "FaceSwap": {"pixels_across": (25, 38), "seam": (1.5, 3.5), "colour_match": (0.6, 1.0), "colour_error": 6.0},
    "Face2Face": {"pixels_across": (18, 28), "seam": (2.5, 4.5), "colour_match": (1.0, 1.0), "colour_error": 5.0},
    "NeuralTextures": {"pixels_across": (20, 30), "seam": (2.5, 5.0), "colour_match": (1.0, 1.0), "colour_error": 4.0},
}
# Degradation of every video, real or fake; much milder than the strengths above.
RENDER = {"shrink": (1.0, 1.5), "blur": (0.2, 0.7), "noise": (0.5, 4.0)}
CRF = (18, 30)  # x264 rate factors, whole numbers up to the second one

FRAME = 240  # px, side of a video frame
FACE_WIDTH = 2.0  # eye distances
MOUTH = ("left_corner", "right_corner", "upper_lip", "lower_lip", "chin")


class Scene(NamedTuple):
    """The random draws that a real video shares with the fakes made from it."""

    person: int
    flip: bool
    expression: dict[str, np.ndarray]  # handle -> shift [2], eye distances
    pose: np.ndarray  # [T, 3, 3] canvas -> frame
    swing: np.ndarray  # [T] strength of the expression, about 1
    light: np.ndarray  # [FRAME, FRAME, 3] float32 gain
    gamma: float


def draw_expression(rng: np.random.Generator, mouth: float = 1.0) -> dict[str, np.ndarray]:
    """Draw an expression: handle -> shift [2] in eye distances. mouth: factor on the shifts of the mouth."""
    smile, opening, brows, lids = rng.uniform([-0.07, -0.05, -0.09, -0.04], [0.10, 0.10, 0.07, 0.05])
    shifts = {
        "left_corner": (-smile, -smile), "right_corner": (smile, -smile), "upper_lip": (0, -opening / 2),
        "lower_lip": (0, opening), "chin": (0, opening / 2), "left_brow": (0, brows), "right_brow": (0, brows),
        "left_lid": (0, lids), "right_lid": (0, lids),
    }  # fmt: skip
    return {
        name: (np.array(shift) + rng.normal(0, 0.02, 2)) * (mouth if name in MOUTH else 1.0)
        for name, shift in shifts.items()
    }


def draw_scene(rng: np.random.Generator, person: int, frames: int) -> Scene:
    """Draw expression, pose, motion and light of a video. person: index in people.PEOPLE. frames: its length."""
    flip, expression = bool(rng.integers(2)), draw_expression(rng)
    phase = rng.uniform(0, 2 * np.pi) + rng.uniform(0.15, 0.5) * np.arange(frames)
    sway = np.sin(phase)[:, None] * rng.uniform(-1, 1, 4) + rng.uniform(-1, 1, 4)
    angles, scales = np.deg2rad(5 * sway[:, 0]), np.exp(0.06 * sway[:, 1] + rng.uniform(-0.02, 0.08))
    shifts, tilt = 5 * sway[:, 2:], rng.uniform(-2.5e-4, 2.5e-4, 2)
    pose = []
    for angle, scale, shift in zip(angles, scales, shifts, strict=True):
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        to_centre = np.array([[1, 0, -CANVAS / 2], [0, 1, -CANVAS / 2], [0, 0, 1]])
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [*tilt, 1]])
        to_frame = np.array([[1, 0, FRAME / 2 + shift[0]], [0, 1, FRAME / 2 + shift[1]], [0, 0, 1]])
        pose.append(to_frame @ turn @ to_centre)
    direction, y, x = rng.uniform(0, 2 * np.pi), *np.mgrid[-1 : 1 : FRAME * 1j, -1 : 1 : FRAME * 1j]
    gradient = 1 + rng.uniform(0, 0.25) * (np.cos(direction) * x + np.sin(direction) * y)
    warmth = rng.uniform(-0.08, 0.08)
    light = rng.uniform(0.85, 1.1) * gradient[..., None] * np.array([1 + warmth, 1.0, 1 - warmth])
    swing = 1 + rng.uniform(0, 0.3) * np.sin(phase * rng.uniform(0.7, 1.4))
    return Scene(person, flip, expression, np.array(pose), swing, light.astype(np.float32), rng.uniform(0.8, 1.25))


def play(person: int, flip: bool, expression: dict[str, np.ndarray], swing: float) -> np.ndarray:
    """Warp a person to an expression of strength ``swing``. Returns [CANVAS, CANVAS, 3] uint8."""
    played = warp(portrait(person), {name: swing * shift for name, shift in expression.items()})
    return cv2.flip(played, 1) if flip else played


def soft_mask(rng: np.random.Generator, centre: np.ndarray, radii: tuple[float, float], seam: float) -> np.ndarray:
    """A blurred super-ellipse of slightly random shape. Returns [CANVAS, CANVAS, 1] float32 in 0..1."""
    y, x = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)
    radius = (np.array(radii) * EYE_DISTANCE * rng.uniform(0.92, 1.08, 2)).astype(np.float32)
    centre = (centre + rng.normal(0, 0.03 * EYE_DISTANCE, 2)).astype(np.float32)
    power = np.float32(rng.uniform(2.0, 3.2))
    inside = np.abs((x - centre[0]) / radius[0]) ** power + np.abs((y - centre[1]) / radius[1]) ** power < 1
    return cv2.GaussianBlur(inside.astype(np.float32), (0, 0), seam)[..., None]


def coarse(image: np.ndarray, pixels_across: float, interpolation: int) -> np.ndarray:
    """Reduce an image to the resolution of a generator with ``pixels_across`` pixels over the width of the face."""
    side = round(CANVAS * pixels_across / (FACE_WIDTH * EYE_DISTANCE))
    small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (CANVAS, CANVAS), interpolation=interpolation)


def colour_match(source: np.ndarray, target: np.ndarray, mask: np.ndarray, share: float) -> tuple[float, np.ndarray]:
    """(gain, offset [3] float32) that match the colours of ``source`` to ``target`` inside the mask.

    source, target: [H, W, 3]. mask: [H, W, 1], above 0.5 inside. share: how far source * gain + offset moves the mean
    colour and the contrast to those of ``target``, 0..1.
    """
    inside = mask[..., 0] > 0.5
    mean, mean_to = source[inside].mean(axis=0), target[inside].mean(axis=0)
    gain = float(target[inside].std(axis=0).mean() / source[inside].std(axis=0).mean()) ** share
    return gain, (mean + share * (mean_to - mean) - mean * gain).astype(np.float32)


def manipulate(rng: np.random.Generator, method: str, scene: Scene, donor: int) -> list[np.ndarray]:
    """Imitate a manipulation. Returns a list of T [CANVAS, CANVAS, 3] uint8.

    Deepfakes and FaceSwap lay the face of the donor (an index in people.PEOPLE), with an expression like the target's,
    over the target. Face2Face and NeuralTextures give the mouth another expression. The new part is coarser and a
    little off in colour.
    """
    strength = STRENGTHS[method]
    pixels_across, seam, share = (
        rng.uniform(*span) for span in (strength["pixels_across"], strength["seam"], strength["colour_match"])
    )
    error = rng.normal(0, strength["colour_error"], 3).astype(np.float32)
    interpolation = (cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(2)]
    mouth = POINTS[3:].mean(axis=0)
    if method in ("Deepfakes", "FaceSwap"):
        person, flip = donor, bool(rng.integers(2))
        expression = {name: shift + rng.normal(0, 0.015, 2) for name, shift in scene.expression.items()}
        mask = soft_mask(rng, 0.4 * POINTS[:2].mean(axis=0) + 0.6 * mouth, (0.82, 1.0), seam)
    else:
        person, flip = scene.person, scene.flip
        expression = scene.expression | {k: v for k, v in draw_expression(rng, mouth=1.6).items() if k in MOUTH}
        mask = soft_mask(rng, mouth + [0, 0.05 * EYE_DISTANCE], (0.66, 0.42), seam)
    box = tuple(slice(span.min(), span.max() + 1) for span in np.nonzero(mask[..., 0]))
    mask = mask[box]
    canvases = []
    for swing in scene.swing:
        canvas = play(scene.person, scene.flip, scene.expression, swing)
        source = coarse(play(person, flip, expression, swing), pixels_across, interpolation)[box]
        target = canvas[box].astype(np.float32)
        if not canvases:  # one colour error for the whole video
            gain, offset = colour_match(source, target, mask, share)
        mixed = target + mask * (source * np.float32(gain) + (offset + error) - target)
        canvas[box] = np.clip(np.rint(mixed), 0, 255)
        canvases.append(canvas)
    return canvases


def render(rng: np.random.Generator, scene: Scene, canvases: list[np.ndarray]) -> tuple[np.ndarray, int]:
    """Turn canvases into frames with the scene's pose and light; sharpness, noise and compression are drawn here.

    Returns:
        frames: [T, FRAME, FRAME, 3] uint8 RGB.
        crf: The x264 constant rate factor to encode them with.
    """
    shrink, blur, noise = (rng.uniform(*RENDER[key]) for key in ("shrink", "blur", "noise"))
    side = round(FRAME / shrink)
    curve = (255 * np.linspace(0, 1, 256) ** scene.gamma).astype(np.uint8)
    frames = []
    for canvas, pose in zip(canvases, scene.pose, strict=True):
        frame = cv2.warpPerspective(curve[canvas], pose, (FRAME, FRAME), borderMode=cv2.BORDER_REFLECT) * scene.light
        frame = cv2.resize(cv2.resize(frame, (side, side), interpolation=cv2.INTER_AREA), (FRAME, FRAME))
        frame = cv2.GaussianBlur(frame, (0, 0), blur)
        frame += np.float32(noise) * rng.standard_normal((FRAME, FRAME, 1), dtype=np.float32)
        frames.append(np.clip(np.rint(frame), 0, 255).astype(np.uint8))
    return np.stack(frames), int(rng.integers(CRF[0], CRF[1] + 1))
