"""The colours of the outcomes, for pictures, timelines and the web page.

They are Okabe and Ito's, which colour-blind people can tell apart. The outcome is always written beside its colour.
"""

from typing import NamedTuple


class Colour(NamedTuple):
    """One colour as ``#rrggbb``, and its variants with enough contrast for text."""

    fill: str
    on_light: str  # text and lines on a white background
    on_dark: str  # text on a dark background

    @property
    def rgb(self) -> tuple[int, int, int]:
        """``fill`` as red, green and blue, 0 to 255."""
        red, green, blue = bytes.fromhex(self.fill[1:])
        return red, green, blue


OUTCOME_COLOURS = {
    "fake": Colour("#d55e00", "#b34e00", "#ff9a4d"),
    "uncertain": Colour("#f0e442", "#7a6a00", "#f0e442"),
    "real": Colour("#0072b2", "#0063a3", "#62b5ee"),
}
