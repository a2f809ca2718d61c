"""The colours of the report, for a light and for a dark page."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Theme:
    """Colours as #rrggbb. real, fake and series are Okabe and Ito's, which colour-blind people tell apart."""

    page: str
    background: str  # of cards, tables and plots
    head: str  # of row names
    text: str
    quiet: str
    grid: str
    right: str
    wrong: str
    tint: str
    shadow: str
    real: str
    fake: str
    series: tuple[str, ...]


LIGHT = Theme(
    page="#f4f5f7",
    background="#ffffff",
    head="#eceef1",
    text="#1d2129",
    quiet="#5a6270",
    grid="#d9dce1",
    right="#00684a",
    wrong="#b3261e",
    tint="#5a62701c",
    shadow="#0003",
    real="#0072B2",
    fake="#D55E00",
    series=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000"),
)
DARK = Theme(
    page="#12151a",
    background="#1c2027",
    head="#262b34",
    text="#e6e8eb",
    quiet="#a3abb8",
    grid="#3a404a",
    right="#5fd3a8",
    wrong="#ff8a80",
    tint="#a3abb81c",
    shadow="#000c",
    real="#56B4E9",
    fake="#E69F00",
    series=("#56B4E9", "#E69F00", "#2fbf95", "#CC79A7", "#F0E442"),
)
