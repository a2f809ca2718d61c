"""Numbers as text for people."""

from collections.abc import Mapping, Sequence


def percent(value: float | None, digits: int = 2, undefined: str = "n/a") -> str:
    """A fraction in percent, without the % sign; ``undefined`` for None."""
    return undefined if value is None else f"{100 * value:.{digits}f}"


def figure_text(value: float | Sequence | None, digits: int = 2) -> str:
    """An int as it is, a fraction in percent, an interval as "low to high"; n/a if undefined."""
    if isinstance(value, Sequence):
        return "n/a" if None in value else " to ".join(percent(end, digits) for end in value)
    return str(value) if isinstance(value, int) else percent(value, digits)


def spread_text(entry: Mapping) -> str:
    """Mean ± standard deviation in percent."""
    return f"{percent(entry['mean'])} ± {percent(entry['sd'])}" if entry["mean"] is not None else "n/a"


def p_text(p: float | None) -> str:
    """A p value with three digits after the point; n/a if undefined."""
    return "n/a" if p is None else "<0.001" if p < 0.0005 else f"{p:.3f}"
