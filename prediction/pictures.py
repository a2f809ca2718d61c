"""What is drawn over pictures: a labelled box around each face, and heat maps over crops. Images are RGB uint8."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from utils.files import write_bytes

# Okabe and Ito's colours, which colour-blind people tell apart; the label says the outcome too.
COLOURS = {"fake": (213, 94, 0), "uncertain": (240, 228, 66), "real": (0, 114, 178)}
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_face(image: np.ndarray, box: Sequence[float], outcome: str, lines: Sequence[str]) -> None:
    """Draw a box and lines of ASCII text at it, above where there is room, into ``image`` [H, W, 3] in place.

    box: x1, y1, x2, y2 in pixels, may reach over the edge. outcome: a key of COLOURS.
    """
    height, width = image.shape[:2]
    unit = max(height, width) / 1000
    thickness, scale = max(1, round(2.5 * unit)), max(0.35, 0.75 * unit)
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    cv2.rectangle(image, (x1, y1), (x2, y2), COLOURS[outcome], thickness)
    sizes = [cv2.getTextSize(line, _FONT, scale, max(1, thickness // 2)) for line in lines]
    line_height = max((size[1] + base for size, base in sizes), default=0) + 2 * thickness
    label_width = max((size[0] for size, _ in sizes), default=0) + 4 * thickness
    left = min(max(x1, 0), max(width - label_width, 0))
    top = y1 - len(lines) * line_height
    top = min(max(top if top >= 0 else y2, 0), max(height - len(lines) * line_height, 0))
    cv2.rectangle(image, (left, top), (left + label_width, top + len(lines) * line_height), COLOURS[outcome], -1)
    ink = (0, 0, 0) if sum(COLOURS[outcome]) > 380 else (255, 255, 255)
    for number, (line, (_, base)) in enumerate(zip(lines, sizes, strict=True), start=1):
        place = (left + 2 * thickness, top + number * line_height - base - thickness)
        cv2.putText(image, line, place, _FONT, scale, ink, max(1, thickness // 2), cv2.LINE_AA)


def lay_over(crop: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A heat map over a grey copy of its crop: the hotter, the more colour.

    crop: [S, S, 3]. heat: [s, s], at least 0, any scale. Returns [S, S, 3].
    """
    heat = np.clip(cv2.resize(heat, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR), 0, None)
    heat = heat / max(float(heat.max()), np.finfo(np.float32).tiny)
    colours = cv2.cvtColor(cv2.applyColorMap(np.rint(heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO),
                           cv2.COLOR_BGR2RGB)  # fmt: skip
    grey = np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    weight = 0.75 * heat[..., None]
    return np.rint(grey * (1 - weight) + colours * weight).astype(np.uint8)


def write_jpeg(path: Path, image: np.ndarray, quality: int) -> None:
    """Write [H, W, 3] as JPEG of a quality of 1 to 100 in one step."""
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    write_bytes(path, data.tobytes())
