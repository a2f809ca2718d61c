"""The colours of the outcomes, for pictures, timelines and the web page.

They are Okabe and Ito's, for colour-blind people. The outcome is always written beside its colour.
"""

from typing import NamedTuple


class Colour(NamedTuple):
    """A colour and its variants with enough contrast for text, as ``#rrggbb``."""

    fill: str
    on_light: str  # text and lines on a white background
    on_dark: str  # text on a dark background


OUTCOME_COLOURS = {
    "fake": Colour("#d55e00", "#b34e00", "#ff9a4d"),
    "uncertain": Colour("#f0e442", "#7a6a00", "#f0e442"),
    "real": Colour("#0072b2", "#0063a3", "#62b5ee"),
}
