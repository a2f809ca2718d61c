"""The contrast of a style sheet's colours, as WCAG 2.2 computes it."""

import re

import numpy as np
from PIL import ImageColor


def schemes(css):
    """{variable: colour} on a light and on a dark page."""
    light, dark = css.split("@media (prefers-color-scheme: dark)")
    return [dict(re.findall(r"--([a-z-]+): (#[0-9a-fA-F]{3,6});", part)) for part in (light, dark)]


def contrast(one, other):
    """The contrast ratio of two colours, 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour):
    shares = np.array(ImageColor.getrgb(colour)) / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def check(css, texts, lines):
    """Texts need a contrast of 4.5 (AA), lines and borders one of 3. Both are pairs of variables."""
    for colours in schemes(css):
        for pairs, least in ((texts, 4.5), (lines, 3)):
            for one, other in pairs:
                assert contrast(colours[one], colours[other]) >= least, (one, other, colours)
