"""The colours of the report's plots and of the page around them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """Colours on a light or a dark page. Real, fake and series are Okabe and Ito's, for colour-blind people."""

    background: str
    text: str
    grid: str
    right: str
    wrong: str
    real: str
    fake: str
    more: tuple[str, ...]

    @property
    def series(self) -> tuple[str, ...]:
        return (self.real, self.fake, *self.more)


LIGHT = Theme(
    "#ffffff", "#1d2129", "#d9dce1", "#00684a", "#b3261e", "#0072B2", "#D55E00", ("#009E73", "#CC79A7", "#000000")
)
DARK = Theme(
    "#1c2027", "#e6e8eb", "#3a404a", "#5fd3a8", "#ff8a80", "#56B4E9", "#E69F00", ("#2fbf95", "#CC79A7", "#F0E442")
)
