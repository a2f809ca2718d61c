"""P(fake) of one person over time as a picture, with the frames that decided it."""

import io
from collections.abc import Mapping, Sequence

import numpy as np

_COLOURS = {"fake": "#D55E00", "uncertain": "#8a7f00", "real": "#0072B2"}


def timeline(
    seconds: Sequence[float],
    p_fake: Sequence[float],
    outcome: str,
    verdict: float,
    deciding: Mapping[int, np.ndarray],
    band: tuple[float, float],
    title: str,
) -> bytes:
    """Draw a PNG. seconds, p_fake: of each frame, in rising order. verdict: P(fake) of the person, a dashed line.
    deciding: index into ``seconds`` -> crop [S, S, 3] uint8 RGB, at least one. band: of uncertain verdicts."""
    from matplotlib.figure import Figure  # takes a second, for which no verdict should wait

    columns = max(3, len(deciding))
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    grid = figure.add_gridspec(2, columns, height_ratios=(1, 1.35))
    axis = figure.add_subplot(grid[1, :])
    low, high = band
    if high > low:
        axis.axhspan(low, high, color="#F0E442", alpha=0.35, lw=0)
    axis.axhline((low + high) / 2, color="#5a6270", lw=0.8, ls=(0, (1, 3)))
    axis.axhline(verdict, color=_COLOURS[outcome], lw=1.4, ls="--")
    axis.plot(seconds, p_fake, color=_COLOURS[outcome], lw=1.8, marker="o", ms=4, clip_on=False)
    numbers = {index: number for number, index in enumerate(sorted(deciding), start=1)}
    for index, number in numbers.items():
        axis.plot(seconds[index], p_fake[index], "o", ms=11, mfc="none", mec="black", mew=1.4, clip_on=False)
        above = p_fake[index] < 0.8
        axis.annotate(str(number), (seconds[index], p_fake[index]), xytext=(0, 9 if above else -19),
                      textcoords="offset points", ha="center", fontsize=10)  # fmt: skip
        picture = figure.add_subplot(grid[0, number - 1])
        picture.imshow(deciding[index])
        picture.set_axis_off()
        picture.set_title(f"{number}: {seconds[index]:.2f} s, P(fake) {p_fake[index]:.2f}", fontsize=9)
    axis.set(ylim=(0, 1), xlabel="seconds", ylabel="P(fake)")
    axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11, parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
