import csv
import json
import re
from pathlib import Path

import pytest
from PIL import Image

import evaluation.report.page
from evaluation.metrics import evaluate
from evaluation.number_text import figure_text, p_text
from evaluation.report.summary import read_results, sample_frames
from evaluation.report.theme import DARK, LIGHT
from models.label_tree import FFPP
from SJEDD_report import main
from tests.contrast import check
from utils.templates import environment


@pytest.fixture
def folder(tmp_path, golden_crops):
    """A test's results over the golden crops, fakes scored higher than reals."""
    rows = []
    for i, path in enumerate(sorted(golden_crops.glob("*/*/*.png"))):
        fake = path.parent.parent.name == "FakeCDF"
        p = 0.9 - 0.01 * i if fake else 0.3 + 0.01 * i
        code = "1011111111" if fake else "0000000000"
        where = {"dataset": "CDF", "video": f"{path.parent.parent.name}/{path.parent.name}", "path": str(path)}
        what = {
            "label": int(fake),
            "method": "swap" if fake else "real",
            "code": code,
            "p_fake": p,
            "logit_fake": p - 0.5,
        }
        rows.append(where | what | {"identity": p})
    with (tmp_path / "predictions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    metrics = {"dataset": "CDF", "dropped": []} | evaluate([{k: str(v) for k, v in row.items()} for row in rows])
    metrics["nodes"] = {"identity": metrics["frame_auc"], "eye": None}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    return tmp_path


def test_summary_says_the_figures_and_draws_the_picture(folder, capsys):
    assert main([str(folder), "--summary"]) == 0
    printed = capsys.readouterr().out
    assert "3 real and 3 fake videos" in printed
    assert "video AUC 100.0" in printed
    assert "swap against all reals" in printed
    assert "mean AUC of the 1 global and local nodes" in printed
    with Image.open(folder / "summary.png") as picture:
        assert picture.size[0] > 800


def test_summary_asks_about_swapped_labels(folder, capsys):
    main([str(folder), "--summary"])
    assert "are the labels swapped?" not in capsys.readouterr().out
    metrics = json.loads((folder / "metrics.json").read_text()) | {"frame_auc": 0.1}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert main([str(folder), "--summary"]) == 0
    assert "are the labels swapped?" in capsys.readouterr().out


def test_samples_come_from_different_videos(folder):
    predictions, _ = read_results(folder)
    samples = sample_frames(predictions, n=3)
    assert list(samples) == ["swap", "real"]
    assert all(len({predictions.video[row] for row in rows}) == 3 for rows in samples.values())


def test_missing_results_are_exit_code_2(tmp_path, capsys):
    assert main([str(tmp_path), "--summary"]) == 2
    assert "run SJEDD_test.py first" in capsys.readouterr().err


def test_crop_that_is_gone_is_a_grey_tile_and_foreign_results_are_refused(folder, capsys):
    predictions, _ = read_results(folder)
    text = (folder / "predictions.csv").read_text()
    (folder / "predictions.csv").write_text(text.replace(predictions.paths[0], "gone.png"))
    assert main([str(folder), "--summary"]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({name: metrics[name] for name in metrics if name != "dropped"}))
    assert main([str(folder), "--summary"]) == 2
    assert "no results of SJEDD_test.py" in capsys.readouterr().err
    (folder / "predictions.csv").write_text("a,b\n1,2\n")
    assert main([str(folder), "--summary"]) == 2
    assert "no results of SJEDD_test.py" in capsys.readouterr().err


def test_page_draws_the_label_tree_with_the_figures_of_the_table(folder, tmp_path):
    path = folder / "predictions.csv"
    with path.open(newline="") as file:
        rows = [{name: row[name] for name in row if name != "identity"} for row in csv.DictReader(file)]
    for i, row in enumerate(rows):
        row |= {name.replace(" ", "_"): (i * 7 + j) % 10 / 10 for j, name in enumerate(FFPP.nodes[1:])}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert main([str(path), "--output", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    ours = next(iter(json.loads((tmp_path / "out" / "report.json").read_text()).values()))["ours"]
    texts = [figure_text(value) for value in (ours["frame_auc"], *ours["nodes"].values())]
    assert re.findall('class="value">([^<]*)<', page) == texts and len(set(texts)) > 3
    assert page.count('<svg class="tree" role="img"') == 1 and page.count(">Label tree<") == 1
    assert re.findall(r'<th scope="row">(?:expression|skin)</th><td>([^<]*)</td>', page) == [texts[1], texts[-1]]


def test_colours_have_the_contrast_of_wcag_aa():
    templates = environment(Path(evaluation.report.page.__file__).parent / "templates")
    css = templates.get_template("style.css").render(light=LIGHT, dark=DARK, tree_style="")
    texts = [
        ("text", "card"),
        ("quiet", "card"),
        ("text", "page"),
        ("quiet", "page"),
        ("text", "fill"),
        ("text", "head"),
    ]
    check(css, [*texts, ("wrong", "card"), ("right", "card")], [("edge", "card")])


@pytest.mark.parametrize(("p", "text"), [(None, "n/a"), (1e-9, "<0.001"), (0.0005, "0.001"), (0.25, "0.250")])
def test_p_values_as_text(p, text):
    assert p_text(p) == text
