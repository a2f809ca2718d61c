"""The pictures of a prediction: annotated photograph or video, heat maps, timelines. Images are RGB uint8."""

import bisect
import functools
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import ImageColor

from prediction.context import PredictionContext
from prediction.palette import OUTCOME_COLOURS
from prediction.people import People, Source
from prediction.verdicts import Person
from preprocessing.extraction.crop_files import save_image
from preprocessing.extraction.video import colour_matrix, frame_rate, frame_times, yuv_planes
from utils.figures import plain_figures
from utils.files import write_bytes
from utils.terminal import printable
from utils.video_writer import write_video

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_pictures(
    source: Source,
    people: People,
    persons: Sequence[Person],
    folder: Path,
    context: PredictionContext,
    on_frame: Callable[[float], object],
) -> tuple[str, list[dict]]:
    """Write the pictures of an input into ``folder``. The input is read again, frame by frame.

    ``people`` comes from ``find_people``; there is at least one verdict in ``persons``. ``on_frame`` is called with the
    share of the frames that are drawn, 0 to 1.

    Returns:
        The name of the annotated file, and for each person the entries of prediction.json about the pictures.
    """
    crops: list[dict[int, np.ndarray]] = [{} for _ in persons]  # index into a person's frames -> crop
    matrix = colour_matrix(source.path) if source.photo is None else None
    frames = _annotated_frames(source, people, persons, context, crops, on_frame, matrix)
    times: list[float] = []
    if source.photo is not None:
        name = "annotated.jpg"
        (image,) = next(frames)
        save_image(folder / name, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), 92)
    else:
        name, times = "annotated.mp4", frame_times(source.path, people.count)
        encoding = {"preset": "ultrafast", "crf": "23"}
        write_video(folder / name, frames, frame_rate(source.path), encoding, matrix=matrix)
    entries = []
    for number, (person, shown) in enumerate(zip(persons, crops, strict=True), start=1):
        first = person.decisive()[0]
        entry: dict[str, Any] = {"heat_map_frame": person.frames[first], "heat_maps": {}, "timeline": None}
        maps = context.predictor.heat_maps(shown[first])
        for node, heat in zip(context.predictor.tree.nodes, maps, strict=True):
            entry["heat_maps"][node] = f"heat_{number}_{node.replace(' ', '_')}.jpg"
            picture = cv2.cvtColor(overlay(shown[first], heat), cv2.COLOR_RGB2BGR)
            save_image(folder / entry["heat_maps"][node], picture, 90)
        if times:
            entry["timeline"] = f"timeline_{number}.png"
            seconds = [times[frame] for frame in person.frames]
            title = f"{printable(source.path.name)}, person {number}: {person.outcome}"
            write_bytes(folder / entry["timeline"], timeline(person, seconds, shown, context.band, title), False)
        entries.append(entry)
    return name, entries


def _annotated_frames(
    source: Source,
    people: People,
    persons: Sequence[Person],
    context: PredictionContext,
    crops: Sequence[dict[int, np.ndarray]],
    on_frame: Callable[[float], object],
    matrix: int | None,
) -> Iterator[list[np.ndarray]]:
    """Yield all frames with boxes and labels; fill ``crops`` with those of the decisive frames.

    A photograph is one RGB image. Frames of a video are Y, U and V planes, which saves converting all to RGB and back.
    """
    gap = max(np.diff(list(people.faces)), default=1)
    boxes = [dict(zip(person.frames, person.boxes, strict=True)) for person in persons]
    regions = [context.predictor.tree.nodes[i] for i in context.predictor.tree.levels[2]]
    labels = [_label(person, f"{n}: " if len(persons) > 1 else "", regions) for n, person in enumerate(persons, 1)]
    for index, picture in source.pictures(range(people.count)):
        decisive = {n: person.frames.index(index) for n, person in enumerate(persons) if index in person.frames}
        decisive = {n: i for n, i in decisive.items() if i in persons[n].decisive()}
        if decisive:
            image = picture.rgb()
            for n, i in decisive.items():
                crops[n][i] = context.predictor.align(image, persons[n].landmarks[i])
        drawn = picture.planes() if source.photo is None else [picture.rgb().copy()]
        for n, person in enumerate(persons):
            if (box := box_at(index, boxes[n], gap)) is not None:
                draw_face(drawn, box, person.outcome, labels[n], matrix)
        on_frame((index + 1) / people.count)
        yield drawn


def _label(person: Person, prefix: str, regions: Sequence[str]) -> list[str]:
    """The label of a face: outcome and P(fake), then the most probable region of the state."""
    altered = sorted((name for name in regions if name in person.verdict.state), key=lambda name: -person.nodes[name])
    lines = [f"{prefix}{person.outcome}, P(fake) {person.verdict.p_calibrated:.2f}"]
    return lines + [f"{name} {person.nodes[name]:.2f}" for name in altered[:1]]


def box_at(frame: int, boxes: Mapping[int, np.ndarray], gap: int) -> np.ndarray | None:
    """The box of a person in any frame; None if the person was not seen nearby.

    Between two used frames at most ``gap`` apart, the box moves on a straight line. Otherwise it stays for half of
    ``gap`` around each used frame. boxes: number of each used frame that shows the person, ascending -> box [4].
    """
    frames = list(boxes)
    place = bisect.bisect_right(frames, frame)
    before, after = frames[max(place - 1, 0)], frames[min(place, len(frames) - 1)]
    if before <= frame <= after and after - before <= gap:
        share = (frame - before) / max(after - before, 1)
        return (1 - share) * boxes[before] + share * boxes[after]
    nearest = min(before, after, key=lambda used: abs(frame - used))
    return boxes[nearest] if 2 * abs(frame - nearest) <= gap else None


def draw_face(
    image: Sequence[np.ndarray], box: Iterable[float], outcome: str, lines: Sequence[str], matrix: int | None = None
) -> None:
    """Draw a box and a label into an image, in place.

    Args:
        image: One RGB array [H, W, 3], or the planes Y [H, W], U and V [H / 2, W / 2].
        box: x1, y1, x2, y2 in pixels; may reach over the edge.
        outcome: fake, uncertain or real; decides the colour.
        lines: ASCII text, drawn above the box if there is room, else below.
        matrix: FFmpeg's number of the planes' colour matrix; None for RGB.
    """
    height, width = image[0].shape[:2]
    unit = max(height, width) / 1000
    thickness = max(1, round(2.5 * unit))
    label = _label_picture(tuple(lines), outcome, thickness, max(0.35, 0.75 * unit), matrix)
    label_height, label_width = label[0].shape[:2]
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    top = y1 - label_height if y1 >= label_height else y2
    # Even numbers, because a value of U and V is for 2 x 2 pixels.
    top, left = (
        2 * (min(max(at, 0), max(side - length, 0)) // 2)
        for at, side, length in ((top, height, label_height), (x1, width, label_width))
    )
    for plane, part, colour in zip(image, label, _values(outcome, matrix), strict=True):
        step = height // plane.shape[0]  # 1; 2 for U and V
        first, last = ((round(x / step), round(y / step)) for x, y in ((x1, y1), (x2, y2)))
        cv2.rectangle(plane, first, last, colour, max(1, round(thickness / step)))
        place = plane[top // step :, left // step :][: part.shape[0], : part.shape[1]]
        place[...] = part[: place.shape[0], : place.shape[1]]


@functools.cache
def _values(outcome: str, matrix: int | None) -> list[Any]:
    """An outcome's colour in the arrays of an image, see ``draw_face``."""
    colour = ImageColor.getrgb(OUTCOME_COLOURS[outcome].fill)
    return (
        [colour]
        if matrix is None
        else [int(plane[0, 0]) for plane in yuv_planes(np.full((2, 2, 3), colour, np.uint8), matrix)]
    )


@functools.lru_cache(maxsize=64)
def _label_picture(
    lines: Sequence[str], outcome: str, thickness: int, scale: float, matrix: int | None
) -> list[np.ndarray]:
    """The label of ``draw_face``, with even sides, in the arrays of an image."""
    colour = ImageColor.getrgb(OUTCOME_COLOURS[outcome].fill)
    ink = (0, 0, 0) if sum(colour) > 380 else (255, 255, 255)
    weight = max(1, thickness // 2)
    sizes = [cv2.getTextSize(line, _FONT, scale, weight) for line in lines]
    line_height = max(size[1] + base for size, base in sizes) + 2 * thickness
    width = max(size[0] for size, _ in sizes) + 4 * thickness
    height = len(lines) * line_height
    picture = np.full((height + height % 2, width + width % 2, 3), colour, np.uint8)
    for number, (line, (_, base)) in enumerate(zip(lines, sizes, strict=True), start=1):
        place = (2 * thickness, number * line_height - base - thickness)
        cv2.putText(picture, line, place, _FONT, scale, ink, weight, cv2.LINE_AA)
    return [picture] if matrix is None else yuv_planes(picture, matrix)


def overlay(crop: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay a heat map [s, s], of any scale, over a grey copy of its crop [S, S, 3]; returns [S, S, 3]."""
    heat = np.clip(cv2.resize(heat, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR), 0, None)
    heat = heat / max(float(heat.max()), np.finfo(np.float32).tiny)
    colours = cv2.applyColorMap(np.rint(heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    grey = np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    weight = 0.75 * heat[..., None]
    return np.rint(grey * (1 - weight) + colours * weight).astype(np.uint8)


def timeline(
    person: Person, seconds: Sequence[float], shown: Mapping[int, np.ndarray], band: tuple[float, float], title: str
) -> bytes:
    """Draw P(fake) of one person over time as a PNG.

    Args:
        seconds: When each of the person's frames is shown.
        shown: Index into the person's frames -> crop [S, S, 3] to show above the curve; at least one.
        band: P(fake) of uncertain verdicts; shaded.
    """
    with plain_figures():
        figure, buffer = _timeline_figure(person, seconds, shown, band, title), io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _timeline_figure(
    person: Person, seconds: Sequence[float], shown: Mapping[int, np.ndarray], band: tuple[float, float], title: str
) -> "Figure":
    from matplotlib.figure import Figure  # takes a second to import; the verdict is printed before

    p_fake = person.verdict.calibrated.tolist()
    colour = OUTCOME_COLOURS[person.outcome].on_light
    columns = max(3, len(shown))
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    grid = figure.add_gridspec(2, columns, height_ratios=(1, 1.35))
    axis = figure.add_subplot(grid[1, :])
    low, high = band
    if high > low:
        axis.axhspan(low, high, color=OUTCOME_COLOURS["uncertain"].fill, alpha=0.35, lw=0)
    axis.axhline((low + high) / 2, color="#5a6270", lw=0.8, ls=(0, (1, 3)))
    axis.axhline(person.verdict.p_calibrated, color=colour, lw=1.4, ls="--")
    axis.plot(seconds, p_fake, color=colour, lw=1.8, marker="o", ms=4, clip_on=False)
    for number, index in enumerate(sorted(shown), start=1):
        point = (seconds[index], p_fake[index])
        axis.plot(*point, "o", ms=11, mfc="none", mec="black", mew=1.4, clip_on=False)
        offset = (0, 9 if point[1] < 0.8 else -19)
        axis.annotate(str(number), point, xytext=offset, textcoords="offset points", ha="center", fontsize=10)
        picture = figure.add_subplot(grid[0, number - 1])
        picture.imshow(shown[index])
        picture.set_axis_off()
        picture.set_title(f"{number}: {point[0]:.2f} s, P(fake) {point[1]:.2f}", fontsize=9)
    axis.set(ylim=(0, 1), xlabel="seconds", ylabel="P(fake)")
    axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11)
    return figure
