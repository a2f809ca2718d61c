"""Matplotlib's settings for all figures."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def plain_figures(settings: Mapping[str, object] | None = None) -> Iterator[None]:
    """Make and save the figures of the block with Matplotlib's defaults and ``settings``; a name is drawn as it is.

    Without this, a $ in a name begins a formula, and a matplotlibrc of the user may hand all texts to LaTeX.
    """
    import matplotlib  # takes some tenths of a second

    own = {"backend": "agg", "text.parse_math": False, "text.usetex": False}
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **own, **(settings or {})}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # names in any script
        yield
