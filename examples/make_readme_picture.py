"""Draw README's picture: a fake face of `make demo`, marked, beside its label tree with a probability at every node.

python examples/make_readme_picture.py

Run `make demo` first: it makes the video (from public-domain photographs) and the checkpoint. The verdict comes from
SJEDD_predict.py; this script only draws it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

VIDEO = "data/demo/FF++/manipulated_sequences/Face2Face/c23/videos/198_199.mp4"
CHECKPOINT = "output/demo/train/demo/ckpt_best.pth"
NOTE = "A synthetic fake of the demo, made from a public-domain photograph. The model is the demo's small tower."
OFF, INK, GREY = "#8a94a0", "#1c2733", "#68747f"
WIDTH = 2.45  # of a node


def get_args_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", type=Path, default=ROOT / VIDEO, help="video with one face")
    parser.add_argument("--resume", type=Path, default=ROOT / CHECKPOINT, metavar="CKPT", help="of the demo")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/images/overview.png", help="PNG")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Predict the video and draw its first person."""
    args = get_args_parser().parse_args(argv)
    for path in (args.input, args.resume):
        if not path.is_file():
            sys.exit(f"{path} does not exist; run `make demo` first, or give another file")
    person = predict(args.input, args.resume)
    draw(person, args.input, args.output)
    print(args.output, person["explanation"])


def predict(video: Path, checkpoint: Path) -> dict:
    """The first person's entry of the prediction.json that SJEDD_predict.py writes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "SJEDD_predict.py"), "--input", str(video.resolve()), "--no_pictures"]
        subprocess.run([*command, "--resume", str(checkpoint.resolve()), "--output", folder], cwd=ROOT, check=True)
        prediction = json.loads((Path(folder) / video.stem / "prediction.json").read_text(encoding="utf-8"))
    if not prediction["tracks"]:
        sys.exit(f"{video}: {prediction['reason']}")
    return prediction["tracks"][0]


def draw(person: dict, video: Path, output: Path) -> None:
    """Write the picture. person: an entry of prediction.json's ``tracks``, of a model with FF++'s tree."""
    import matplotlib
    import numpy as np
    from PIL import Image

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(12.8, 5.9), dpi=125, facecolor="white")
    draw_face(figure.add_axes((0.012, 0.165, 0.375, 0.8136)), person, video)
    draw_tree(figure.add_axes((0.405, 0.145, 0.585, 0.845)), person)
    figure.text(0.012, 0.115, person["explanation"], color=INK, fontsize=14, va="center")
    figure.text(0.012, 0.05, NOTE, color=GREY, fontsize=10.5, va="center")
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.canvas.draw()
    picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    colours = picture.quantize(256, Image.Quantize.MAXCOVERAGE)
    picture.quantize(palette=colours).save(output, optimize=True)  # half of the file
    plt.close(figure)


def draw_face(axes: "Axes", person: dict, video: Path) -> None:
    """The frame with the highest P(fake), the face in a box."""
    from matplotlib.patches import Rectangle

    from preprocessing.extraction.video import read_frames

    shown = max(person["frames"], key=lambda frame: frame["p_fake"])
    ((_, image),) = read_frames(video, [shown["frame"]])
    axes.imshow(image, interpolation="lanczos")
    x1, y1, x2, y2 = shown["box"]
    colour = fake_colour() if person["outcome"] == "fake" else OFF
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=3))
    style = {"color": "white", "fontsize": 15, "weight": "bold", "bbox": {"fc": colour, "ec": colour, "pad": 5}}
    label = f"{person['outcome']}  {person['p_fake']:.2f}"
    axes.annotate(label, (x1, y1), xytext=(5, 5), textcoords="offset points", **style)
    axes.set_axis_off()


def draw_tree(axes: "Axes", person: dict) -> None:
    """The label tree from left to right; nodes of the named state are coloured."""
    from models.label_tree import FFPP

    axes.set(xlim=(0, 10), ylim=(0, 10))
    axes.set_axis_off()
    columns = ((0.05, "root"), (3.6, "global attributes"), (7.5, "face regions"))
    rows = ([4.65], [7.5, 4.65, 1.8], [8.45 - 1.52 * i for i in range(6)])
    places, state = {}, set(person["state"])
    for level, (x, title), heights in zip(FFPP.levels, columns, rows, strict=True):
        axes.text(x + WIDTH / 2, 9.6, title, color=GREY, fontsize=12, ha="center", va="center")
        places |= {FFPP.nodes[node]: (x, y) for node, y in zip(level, heights, strict=True)}
    for parent, children in FFPP.edges.items():
        for child in children:
            (x1, y1), (x2, y2) = places[parent], places[child]
            on = {parent, child} <= state
            colour, width = (fake_colour(), 2.0) if on else ("#cfd5da", 1.1)
            axes.plot((x1 + WIDTH, x2), (y1, y2), color=colour, linewidth=width, zorder=2 if on else 1)
    for name, (x, y) in places.items():
        draw_node(axes, x, y, name, person["nodes"][name], name in state)


def draw_node(axes: "Axes", x: float, y: float, name: str, p: float, on: bool) -> None:
    """A node at its left middle: name, probability and a bar."""
    from matplotlib.patches import FancyBboxPatch, Rectangle

    edge, fill, bar, ink = (fake_colour(), "#fff3ea", fake_colour(), INK) if on else ("#b9c1c8", "white", OFF, GREY)
    frame = {"facecolor": fill, "edgecolor": edge, "linewidth": 1.6, "zorder": 3}
    left, right, bottom = x + 0.14, x + WIDTH - 0.14, y - 0.38
    axes.add_patch(FancyBboxPatch((x, y - 0.53), WIDTH, 1.06, "round,pad=0,rounding_size=0.14", **frame))
    axes.add_patch(Rectangle((left, bottom), right - left, 0.1, facecolor="#e6eaed", zorder=4))
    axes.add_patch(Rectangle((left, bottom), (right - left) * p, 0.1, facecolor=bar, zorder=5))
    style = {"color": ink, "weight": "bold" if on else "normal", "fontsize": 12.5, "zorder": 4}
    axes.text(right, y - 0.03, f"{p:.2f}", ha="right", **style)
    if " " in name:
        two_lines = {"fontsize": 10, "linespacing": 0.9, "va": "center"}
        axes.text(left, y + 0.12, name.replace(" ", "\n"), **style | two_lines)
    else:
        axes.text(left, y - 0.03, name, **style)


def fake_colour() -> str:
    """The colour of fakes on white."""
    from prediction.palette import OUTCOME_COLOURS

    return OUTCOME_COLOURS["fake"].on_light


if __name__ == "__main__":
    main()
