import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from utils.figures import plain_figures


@pytest.mark.parametrize("name", ["a$\\frac{b", "$x^2$", "\\textbf{x}_$", "a{b}$$"])
def test_names_are_drawn_as_they_are(name, tmp_path, monkeypatch):
    """Whatever the user's matplotlibrc says; here it hands texts to LaTeX."""
    monkeypatch.setitem(mpl.rcParams, "text.usetex", True)
    with plain_figures():
        figure = Figure(figsize=(2, 1))
        axis = figure.add_subplot()
        axis.set_title(name)
        axis.plot([0, 1], label=name)
        axis.set_xticks([0], [name])
        texts = [axis.title, *axis.legend().get_texts(), *axis.get_xticklabels(), figure.suptitle(name)]
        assert not any(text.get_parse_math() or text.get_usetex() for text in texts)
        assert [text.get_text() for text in texts] == 4 * [name]
        figure.savefig(tmp_path / "figure.png")
    assert mpl.rcParams["text.usetex"] and (tmp_path / "figure.png").stat().st_size > 1000
