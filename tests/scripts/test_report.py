"""The report script through main([...]), as a user runs it."""

import csv
import hashlib
import html.parser
import json
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

import SJEDD_report
from evaluation.calibration import calibrated, calibrated_checkpoint, read_calibration
from evaluation.metrics import auc, evaluate
from evaluation.predictions_reader import read_predictions
from evaluation.report import report_run
from evaluation.report.plots import score_figure
from evaluation.report.runs import Run
from evaluation.report.theme import LIGHT

main = SJEDD_report.main
PLOTS = ("roc", "precision_recall", "scores", "methods", "calibration")
NASTY = "<script>alert('$x^$ \\frac{')</script>"


@pytest.fixture
def predictions(tmp_path, golden_crops):
    """Write a run's predictions.csv and metrics.json over the golden crops; the scores depend on the seed."""

    def call(name, seed=0, **metrics):
        rng = np.random.default_rng(seed)
        rows = []
        for path in sorted(golden_crops.glob("*/*/*.png")):
            fake = path.parent.parent.name == "FakeCDF"
            z = rng.normal() + (0.6 if fake else -0.6)
            where = {"dataset": "CDF", "video": f"{path.parent.parent.name}/{path.parent.name}", "frame": path.stem}
            what = {"path": str(path), "label": int(fake), "method": NASTY if fake else "real"}
            score = {"p_fake": f"{1 / (1 + np.exp(-z)):.9g}", "logit_fake": f"{z:.9g}"}
            rows.append(where | what | {"code": "11" if fake else "00"} | score | {"a_node": score["p_fake"]})
        folder = tmp_path / name
        folder.mkdir()
        with (folder / "predictions.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        dropped = [{"video": "FakeCDF/gone", "path": "", "label": 1, "reason": "no <crops>"}]
        metrics = {"frames": len(rows), "videos": 6, "dropped": dropped} | metrics
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return str(folder / "predictions.csv"), rows

    return call


class Page(html.parser.HTMLParser):
    """Collects tags and attribute values."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset")]


def test_report_of_one_run(predictions, tmp_path, capsys):
    path, rows = predictions("run")
    assert main([path, "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "3 real and 3 fake videos, 30 frames, 1 dropped" in printed
    assert all(f"  {name}: " in printed for name in ("ours", "benchmark", "sbi", "strict"))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(report) == [path]
    assert list(report[path]) == ["ours", "benchmark", "sbi", "strict"]
    expected = evaluate(rows, ["a node"], None, 7)
    assert {key: report[path]["ours"][key] for key in expected} == expected
    for name in PLOTS:
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert min(picture.size) > 200
    assert not (tmp_path / "out" / "comparison.json").exists()


def test_the_folder_of_a_test_stands_for_its_predictions(predictions, tmp_path, capsys):
    path, _ = predictions("a")
    for given in (path, str(tmp_path / "a")):
        assert main([given, "--output", str(tmp_path / "out")]) == 0
        assert f"{path}: 3 real and 3 fake videos" in capsys.readouterr().out


def test_page_stands_alone_and_escapes(predictions, tmp_path):
    path, rows = predictions("run")
    crops = str(Path(rows[0]["path"]).parents[2])
    main([path, "--output", str(tmp_path / "out"), "--images", crops])
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert page.links
    assert all(link.startswith("data:") for link in page.links)
    assert not re.search(r"url\(|@import|https?:", text)
    assert "no &lt;crops&gt;" in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert text.count("data:image/jpeg") == 6, "the worst reals and fakes as thumbnails"
    assert '<th scope="row">a node</th>' in text


def test_report_is_the_same_again(predictions, tmp_path):
    path, _ = predictions("run")
    for name in ("one", "two"):
        main([path, "--output", str(tmp_path / name)])
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_unreadable_crops_are_left_out(predictions, tmp_path, monkeypatch):
    predictions("run")
    monkeypatch.setattr(report_run, "draw_plots", lambda *_: [])
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    Image.new("RGB", (400, 300)).save(tmp_path / "run" / "beside.png")
    text = (tmp_path / "run" / "predictions.csv").read_text().splitlines()
    fields = [line.split(",") for line in text]
    for i, row in enumerate(fields[1:]):
        row[3] = ("broken.png", "beside.png", "gone/x.png", "nul\0.png")[i % 4]
        row[1] = f"{row[1]}{i}"
    (tmp_path / "run" / "predictions.csv").write_text("\n".join(map(",".join, fields)) + "\n")
    monkeypatch.chdir(tmp_path)
    assert main(["run/predictions.csv", "--output", "out", "--images", "."]) == 0
    shown = (tmp_path / "out" / "report.html").read_text().count("data:image/jpeg")
    assert 0 < shown < 16


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Write shared/predictions.csv of real images; the working directory is the parent of ``shared`` and ``data``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report_run, "draw_plots", lambda *_: [])
    for folder in ("shared", "data", "elsewhere/set"):
        (tmp_path / folder).mkdir(parents=True)

    def call(paths):
        rows = [f"{path},v{i},0,0.{i + 1}\n" for i, path in enumerate(paths)]
        (tmp_path / "shared" / "predictions.csv").write_text("path,video,label,p_fake\n" + "".join(rows))

    return call


def shown(*options):
    """(number of pictures in the report, what it says of others)."""
    assert main(["shared/predictions.csv", "--output", "out", *options]) == 0
    page = Path("out/report.html").read_text()
    return page.count("data:image/jpeg"), re.findall(r"<p>(\d+ .*not shown.*|None of the crops.*)</p>", page)


def test_a_table_puts_no_private_picture_into_the_report(table, tmp_path):
    private = ["secret.png", "shared/secret.png", "data-2/secret.png", "elsewhere/secret.png"]
    (tmp_path / "data-2").mkdir()
    (tmp_path / "data" / "set").symlink_to(tmp_path / "elsewhere" / "set")
    for path in [*private, "data/crop.png"]:
        Image.new("RGB", (20, 20)).save(tmp_path / path)
    metrics = {"frames": 8, "videos": 8, "dropped": [], "source": "/", "crop_root": "/"}
    (tmp_path / "shared" / "metrics.json").write_text(json.dumps(metrics))
    table([*private, "gone.png", str(tmp_path / "secret.png"), "data/../secret.png", "data/set/../secret.png"])
    note = "7 pictures are not shown: they lie outside of data; --images DIR shows those in DIR."
    assert shown() == (0, [note]), "the last path means data/secret.png, which is not there"
    assert shown("--images", "shared") == (1, [note.replace("7", "5").replace("data", "shared")])
    table(["data/crop.png", "secret.png"])
    assert shown() == (1, ["1 picture is not shown: it lies outside of data; --images DIR shows those in DIR."])


def test_crops_behind_links_in_the_folder_are_shown(table, tmp_path):
    """As after ``ln -s /datasets/Celeb-DF-v2/* data/CDF/``, by either of their names."""
    (tmp_path / "data" / "set").symlink_to(tmp_path / "elsewhere" / "set")
    (tmp_path / "linked").symlink_to(tmp_path / "data")
    Image.new("RGB", (20, 20)).save(tmp_path / "elsewhere" / "set" / "a.png")
    Image.new("RGB", (20, 20)).save(tmp_path / "data" / "b.png")
    table(["data/set/a.png", "linked/b.png"])
    assert shown() == (2, [])
    assert shown("--images", "elsewhere")[0] == 1


def test_crops_that_are_gone_are_said_to_be(table):
    table(["data/gone.png", "data/nul\0.png"])
    assert shown() == (0, ["None of the crops of the worst mistakes could be opened, so none is shown."])


def test_the_summary_counts_the_pictures_it_does_not_show(predictions, tmp_path, capsys):
    path, rows = predictions("run")
    metrics = {"dataset": "CDF"} | evaluate(rows, ["a node"]) | json.loads((tmp_path / "run/metrics.json").read_text())
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))
    pictures = []
    for options, note in (([], "6 pictures are not shown: they lie outside of data;"), (["--images", "/"], "")):
        assert main([path, "--summary", *options]) == 0
        assert note in (printed := capsys.readouterr().out) and ("not shown" in printed) == bool(note)
        pictures.append((tmp_path / "run" / "summary.png").read_bytes())
    assert pictures[0] != pictures[1]


def test_no_reader_of_other_formats_sees_a_picture_of_the_table(table, tmp_path, monkeypatch):
    """Pillow's reader of EPS starts Ghostscript, which runs programs in PostScript."""
    (tmp_path / "data" / "crop.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    Image.init()
    monkeypatch.setitem(Image.OPEN, "EPS", (lambda *_: pytest.fail("the EPS reader was started"), Image.OPEN["EPS"][1]))
    table(["data/crop.png"])
    assert shown()[0] == 0


def test_names_of_files_and_data_sets_are_no_formulas(predictions, tmp_path):
    name = "a$\\frac{b"
    files = [predictions(folder, i)[0] for i, folder in enumerate((name, f"$x^{name}"))]
    assert main([*files, "--output", str(tmp_path / "out")]) == 0
    path, rows = Path(files[0]), predictions("c")[1]
    metrics = json.loads((path.parent / "metrics.json").read_text()) | {"dataset": name} | evaluate(rows, ["a node"])
    (path.parent / "metrics.json").write_text(json.dumps(metrics))
    assert main([str(path), "--summary"]) == 0


def test_comparison_and_seeds(predictions, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report_run, "draw_plots", lambda *_: [])
    files = [predictions(f"seed{i}", i)[0] for i in range(3)]
    out = tmp_path / "out"
    assert main([*files, "--output", str(out)]) == 0
    pairs = json.loads((out / "comparison.json").read_text())["pairs"]
    assert [(pair["a"], pair["b"], pair["videos"]) for pair in pairs] == [(files[0], f, 6) for f in files[1:]]
    printed, page = capsys.readouterr().out, (out / "report.html").read_text()
    assert "6 common videos: video AUC" in printed and "; DeLong p " in printed
    for said in ("because frames of one video are not independent", "DeLong&#39;s test (n/a where it is undefined)"):
        assert said in page and said.replace("&#39;", "'") in printed
    assert main([*files, "--seeds", "--output", str(out)]) == 0
    seeds = json.loads((out / "comparison.json").read_text())["seeds"]
    report = json.loads((out / "report.json").read_text())
    values = [report[file]["strict"]["video_auc"] for file in files]
    assert seeds["strict"]["video_auc"]["sd"] == pytest.approx(np.std(values, ddof=1))
    assert main([files[0], "--output", str(out)]) == 0
    assert not (out / "comparison.json").exists(), "none of an earlier report stays"


def test_seeds_of_different_videos_have_no_mean_and_it_is_said(predictions, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report_run, "draw_plots", lambda *_: [])
    files = [predictions(f"seed{i}", i)[0] for i in range(2)]
    text = (tmp_path / "seed1" / "predictions.csv").read_text()
    (tmp_path / "seed1" / "predictions.csv").write_text(text.replace("RealCDF/id0_0000", "RealCDF/other"))
    out = tmp_path / "out"
    assert main([*files, "--seeds", "--output", str(out)]) == 0
    said = "the runs hold different videos (6, 6; 5 in all), so there is no mean over them"
    assert json.loads((out / "comparison.json").read_text()) == {"seeds": {}, "note": said}
    assert said in capsys.readouterr().out
    assert said in (out / "report.html").read_text()


def test_every_run_is_reported_at_its_own_threshold(predictions, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report_run, "draw_plots", lambda *_: [])
    files = [predictions(f"run{i}", 0, threshold=threshold)[0] for i, threshold in enumerate((0.4, 0.9, None))]
    _, rows = predictions("rows")

    def accuracies(*more):
        assert main([*files, *more, "--output", str(tmp_path / "out")]) == 0
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        names = ("video_acc_at_threshold", "video_balanced_acc_at_threshold", "frame_acc_at_threshold")
        return [[report[file]["ours"][name] for name in names] for file in files]

    def expected(threshold):
        figures = evaluate(rows, (), threshold)
        return [figures[f"{name}_at_threshold"] for name in ("video_acc", "video_balanced_acc", "frame_acc")]

    assert accuracies() == [expected(0.4), expected(0.9), [None] * 3]
    assert expected(0.4) != expected(0.9)
    printed = capsys.readouterr().out
    assert "videos, threshold 0.4 from validation: ACC at threshold" in printed
    assert "videos, threshold 0.9 from validation: ACC at threshold" in printed
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("bal. ACC at threshold") == 3, "the table of all runs and those of two runs"
    assert "each at its own threshold" in page
    assert accuracies("--threshold", "0.9") == [expected(0.9)] * 3


@pytest.mark.parametrize("scores", [(1e20, -1e20), (1e4, 1e3), (-1e-320, 1e-320), (1e-320, 0), (1e20, 1e20)])
def test_scores_of_any_size_are_reported(tmp_path, golden_crops, scores):
    """Warnings are errors here: nothing overflows in means, metrics, plots or texts."""
    crops = [next(golden_crops.glob(f"{name}/*/*.png")) for name in ("RealCDF", "FakeCDF")]
    header = "path,video,label,p_fake,method,code,logit_fake,node\n"
    rows = "".join(
        f"{crops[label]},{label}{video},{label},{scores[video % 2]!r},{('real', 'X')[label]},{label}{label},"
        f"{scores[video % 2]!r},{scores[video % 2]!r}\n"
        for label in (0, 1) for video in range(3) for _ in range(2)
    )  # fmt: skip
    files = [str(tmp_path / f"{name}.csv") for name in "ab"]
    for file in files:
        (tmp_path / file).write_text(header + rows)
    assert main([*files, "--output", str(tmp_path / "out")]) == 0
    ours = json.loads((tmp_path / "out" / "report.json").read_text())[files[0]]["ours"]
    assert ours["video_auc"] == ours["frame_auc"] == ours["nodes"]["node"] == ours["methods"]["X"]["video_auc"] == 0.5
    page = (tmp_path / "out" / "report.html").read_text()
    assert not re.search(r"\d{20}", re.sub(r'"data:[^"]*"', "", page)), "no number of hundreds of digits"


def test_data_sets_of_one_file_are_told_apart(tmp_path, capsys):
    rows = "X,a,0,0.1\nX,b,1,0.2\nY,a,0,0.8\nY,b,1,0.9\n"
    (tmp_path / "two.csv").write_text("dataset,video,label,p_fake\n" + rows)
    assert main([str(tmp_path / "two.csv"), "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "videos of 2 data sets (X 2, Y 2)" in printed
    assert "X: video AUC 100.00, frame AUC 100.00" in printed
    assert "By data set" in (tmp_path / "out" / "report.html").read_text()

    cross = json.loads((tmp_path / "out" / "report.json").read_text())[str(tmp_path / "two.csv")]["ours"]["cross_auc"]
    assert cross == {"aucs": {"X": {"X": 1.0, "Y": 1.0}, "Y": {"X": 0.0, "Y": 1.0}}, "within": 1.0, "cross": 0.5}
    assert "mean over pairs of different data sets 50.00, within data sets 100.00" in printed


def test_files_of_several_data_sets_give_the_cross_auc(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report_run, "draw_plots", lambda *_: [])
    scores = {"X": "X,a,0,0.1\nX,b,1,0.2\n", "Y": "Y,a,0,0.8\nY,b,1,0.9\n", "Z": "Z,a,1,0.15\n"}
    for name, rows in scores.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.csv").write_text("dataset,video,label,p_fake\n" + rows)
    files, out = [str(tmp_path / name) for name in scores], tmp_path / "out"
    assert main([*files, "--output", str(out)]) == 0
    cross = json.loads((out / "comparison.json").read_text())
    assert cross["cross_auc"]["aucs"] == {
        "X": {"X": 1.0, "Y": 1.0, "Z": 1.0}, "Y": {"X": 0.0, "Y": 1.0, "Z": 0.0}, "Z": dict.fromkeys("XYZ")
    }  # fmt: skip
    assert (cross["cross_auc"]["within"], cross["cross_auc"]["cross"]) == (1.0, 0.5)
    printed, page = capsys.readouterr().out, (out / "report.html").read_text()
    assert "Cross-AUC: video AUC of the reals of one data set (rows)" in printed and "not compared" not in printed
    cells = [re.sub("<.*?>", " ", row).split() for row in re.findall("<tr>.*?</tr>", page, re.DOTALL)]
    assert ["reals", "of", "X", "Y", "Z"] in cells and ["Y", "0.00", "100.00", "0.00"] in cells
    for name in "XY":
        counts = {"frames": 2, "videos": 2, "dropped": [], "checkpoint": f"{name}.pth"}
        (tmp_path / name / "metrics.json").write_text(json.dumps(counts))
    assert main([*files, "--output", str(out)]) == 0
    said = "the files hold other data sets and scores of X.pth, Y.pth: nothing to compare"
    assert said in capsys.readouterr().out and said in (out / "report.html").read_text()


@pytest.mark.parametrize(("fake_score", "asked"), [(0.02, True), (0.915, False), (0.99, False)])
def test_scores_that_point_to_the_wrong_class_are_asked_about(tmp_path, capsys, monkeypatch, fake_score, asked):
    monkeypatch.setattr(report_run, "draw_plots", lambda *_: [])
    rows = [f"r{i},0,{0.90 + i / 100}\nf{i},1,{fake_score + i / 1000}\n" for i in range(5)]
    (tmp_path / "other.csv").write_text("video,label,p_fake\n" + "".join(rows))
    assert main([str(tmp_path / "other.csv"), "--output", str(tmp_path / "out")]) == 0
    question = "reals score higher than fakes; 0 is real and 1 is fake, and a higher score means more fake: are"
    assert (question in capsys.readouterr().out) == asked
    assert (question in (tmp_path / "out" / "report.html").read_text()) == asked


def test_the_data_set_whose_labels_look_swapped_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report_run, "draw_plots", lambda *_: [])
    rows = "X,a,0,0.1\nX,b,1,0.2\nY,a,0,0.8\nY,b,1,0.7\n"
    (tmp_path / "two.csv").write_text("dataset,video,label,p_fake\n" + rows)
    assert main([str(tmp_path / "two.csv"), "--output", str(tmp_path / "out")]) == 0
    assert "reals score higher than fakes in Y; 0 is real" in capsys.readouterr().out
    (tmp_path / "two.csv").write_text("dataset,video,label,p_fake\nX,a,0,0.9\nY,b,1,0.2\n")
    assert main([str(tmp_path / "two.csv"), "--output", str(tmp_path / "out")]) == 0
    assert "reals score higher than fakes; 0 is real" in capsys.readouterr().out, "no set has both classes"


def test_plots_of_several_runs(predictions, tmp_path):
    files = [predictions(name, i)[0] for i, name in enumerate(("_hidden", "b"))]
    assert main([*files, "--output", str(tmp_path / "out")]) == 0
    assert all((tmp_path / "out" / f"{name}.png").is_file() for name in PLOTS)
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    columns = re.findall(r'<th scope="col">(.*?)</th>', text)
    assert columns[:3] == ["run", "video AUC", "95% interval"], "a phone shows the first two or three"
    assert columns[columns.index("run", 1) :][:3] == ["run", "difference", "95% interval"]


def test_the_legend_of_the_scores_lies_beside_the_bars(predictions):
    runs = [Run(name, read_predictions(predictions(name, i)[0]), {}, {}) for i, name in enumerate("ab")]
    figure = score_figure(runs, LIGHT)
    figure.canvas.draw()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["real", "fake"]
    for axis in figure.axes:
        assert "3 real and 3 fake videos" in axis.get_xlabel()
        assert axis.get_legend() is None and not legend.get_window_extent().overlaps(axis.get_tightbbox())
    plt.close(figure)


def test_other_system_with_scores_that_are_no_probabilities(tmp_path, capsys):
    (tmp_path / "other.csv").write_text(
        "img,y,z\nr/0/a.png,real,-3\nr/1/a.png,real,2\nf/0/a.png,fake,4\nf/1/a.png,fake,5\n"
    )
    columns = ["--score_column", "z", "--label_column", "y", "--path_column", "img"]
    assert main([str(tmp_path / "other.csv"), *columns, "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "no probabilities" in printed
    assert "no column method" in printed
    ours = json.loads((tmp_path / "out" / "report.json").read_text())[str(tmp_path / "other.csv")]["ours"]
    assert (ours["video_auc"], ours["video_acc"], ours["methods"], ours["coverage"]) == (1.0, None, {}, None)
    assert not (tmp_path / "out" / "calibration.png").exists()
    assert not (tmp_path / "out" / "methods.png").exists()


def test_a_given_column_is_read_in_the_files_that_have_it(predictions, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report_run, "draw_plots", lambda *_: [])
    ours, rows = predictions("run")
    videos = {row["video"]: row["label"] for row in rows}
    other, out = tmp_path / "other.csv", tmp_path / "out"
    other.write_text("clip,truth,prob\n" + "".join(f"{video},{label},0.{label}\n" for video, label in videos.items()))
    columns = ["--score_column", "prob", "--label_column", "truth", "--video_column", "clip", "--output", str(out)]
    assert main([ours, str(other), *columns]) == 0
    assert json.loads((out / "comparison.json").read_text())["pairs"][0]["videos"] == 6
    assert "no column prob: the score is p_fake" in capsys.readouterr().out
    other.write_text(other.read_text().replace("RealCDF/", "").replace("FakeCDF/", "x/"))
    assert main([ours, str(other), *columns]) == 0
    assert "6 common videos by their id without folder and ending: video AUC" in capsys.readouterr().out
    assert "matched by their id without" in (out / "report.html").read_text()
    assert main([ours, str(other), *columns, "--score_column", "pro"]) == 2
    assert f"{other}:1: no column pro or p_fake; name it with --score_column (the file has: clip, " in (
        capsys.readouterr().err
    )
    assert main([ours, predictions("again")[0], *columns]) == 2
    assert "none of the files has a column prob; correct --score_column" in capsys.readouterr().err


def test_images_are_not_called_videos(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(report_run, "draw_plots", lambda *_: [])
    for ending, units in (("png", "images"), ("mp4", "videos, 3 frames")):
        rows = [f"a/{i}.{ending},{i % 2},0.{i}\n" for i in range(1, 4)]
        (tmp_path / "p.csv").write_text("path,label,p_fake\n" + "".join(rows))
        assert main([str(tmp_path / "p.csv"), "--output", str(tmp_path / "out")]) == 0
        assert f"1 real and 2 fake {units}, dropped not known" in capsys.readouterr().out
        assert f"1 real and 2 fake {units.split(',')[0]}" in (tmp_path / "out" / "report.html").read_text()


def test_one_class_is_said_and_nothing_crashes(tmp_path, capsys):
    (tmp_path / "one.csv").write_text("video,label,p_fake\na,1,0.5\nb,1,0.6\n")
    assert main([str(tmp_path / "one.csv"), "--output", str(tmp_path / "out")]) == 0
    assert "one class only" in capsys.readouterr().out
    assert (
        json.loads((tmp_path / "out" / "report.json").read_text())[str(tmp_path / "one.csv")]["sbi"]["video_auc"]
        is None
    )


def test_calibration(predictions, tmp_path, capsys):
    path, rows = predictions("val", checkpoint="out/best.pth")
    assert main([path, "--calibrate", "--output", str(tmp_path / "out")]) == 0
    content = json.loads((tmp_path / "out" / "calibration.json").read_text())
    calibration = read_calibration(tmp_path / "out" / "calibration.json")
    temperature = content["temperature"]
    assert calibration == {"method": "temperature", "temperature": temperature}
    assert content["checkpoint"] == calibrated_checkpoint(tmp_path / "out" / "calibration.json") == "out/best.pth"
    assert (content["frames"], content["videos"], content["source"]) == (30, 6, path)
    assert content["sha256"] == hashlib.sha256((tmp_path / "val" / "predictions.csv").read_bytes()).hexdigest()
    assert content["nll_after"] <= content["nll_before"]
    assert set(content) >= {"ece_before", "ece_after"}
    labels, logits = np.array([r["label"] for r in rows]), np.array([float(r["logit_fake"]) for r in rows])
    assert auc(labels, calibrated(logits, calibration)) == auc(labels, logits)
    assert f"temperature {temperature:.4f}" in capsys.readouterr().out
    assert not (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("method", "says"),
    [("platt", "slope 1.8927, intercept -0.0386 from 30 frames"), ("isotonic", "makes ties: different log-odds")],
)
def test_calibration_by_other_methods(predictions, tmp_path, capsys, method, says):
    path, rows = predictions("val", 1)
    assert main([path, "--calibrate", "--calibrate_by", method, "--output", str(tmp_path / "out")]) == 0
    assert says in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "calibration.json").read_text())
    logits = np.array([float(row["logit_fake"]) for row in rows])
    p = calibrated(logits, read_calibration(tmp_path / "out" / "calibration.json"))
    assert (np.diff(p[np.argsort(logits)]) >= 0).all()
    assert content["method"] == method and content["nll_after"] < content["nll_before"]


@pytest.mark.parametrize(("fakes", "rises"), [(0.8, True), (0.5, False)])
def test_a_temperature_that_raises_the_ece_is_said(tmp_path, capsys, fakes, rises):
    """Log-odds twice too large for as many reals as fakes; where most are fake they are all too low besides."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(2000) < 2000 * fakes).astype(int)
    logits = (1.2 * labels - 0.6 + 1.55 * rng.normal(size=2000)).tolist()
    lines = [f"{i},{y},{1 / (1 + np.exp(-z)):.9g},{z:.9g}" for i, (y, z) in enumerate(zip(labels, logits, strict=True))]
    (tmp_path / "val.csv").write_text("video,label,p_fake,logit_fake\n" + "\n".join(lines) + "\n")
    assert main([str(tmp_path / "val.csv"), "--calibrate", "--output", str(tmp_path / "out")]) == 0
    content = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert content["checkpoint"] is None, "no metrics.json beside the file"
    assert content["nll_after"] < content["nll_before"]
    assert (content["ece_after"] > content["ece_before"]) == rises
    assert ("The ECE rises although the NLL falls" in capsys.readouterr().out) == rises


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gone.csv"], "cannot read gone.csv"),
        (["p.csv", "--score_column", "x"], "p.csv:1: no column x; name it with --score_column"),
        (["p.csv", "--video_column", "x"], "p.csv:1: no column x; name it with --video_column"),
        (["p.csv", "--calibrate"], "calibration needs the log-odds"),
        (["p.csv", "--output", "p.csv"], "cannot write to the output folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.csv").write_text("video,label,p_fake\na,0,0.5\nb,1,0.6\n")
    assert main(["--output", "out", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["p.csv", "p.csv"],
        ["p.csv", "--seeds"],
        ["p.csv", "q.csv", "--calibrate"],
        ["p.csv", "--threshold", "2"],
        ["a", "b", "--summary"],
        ["a", "--summary", "--calibrate"],
        ["a", "--calibrate_by", "platt"],
    ],
)
def test_arguments_that_contradict_each_other_are_refused(arguments):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--output", "out"])
    assert stop.value.code == 2


def test_only_the_summary_needs_no_output(predictions, tmp_path, capsys):
    path, rows = predictions("run")
    with pytest.raises(SystemExit) as stop:
        main([path])
    assert stop.value.code == 2 and "--output DIR is missing" in capsys.readouterr().err
    metrics = {"dataset": "CDF"} | evaluate(rows, ["a node"]) | json.loads((tmp_path / "run/metrics.json").read_text())
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))
    for given in (path, str(tmp_path / "run")):
        assert main([given, "--summary"]) == 0
        assert f"{NASTY} against all reals" in capsys.readouterr().out
        with Image.open(tmp_path / "run" / "summary.png") as picture:
            assert min(picture.size) > 200
        (tmp_path / "run" / "summary.png").unlink()


def test_names_that_are_not_utf_8_are_shown_with_question_marks(tmp_path):
    (tmp_path / "p.csv").write_bytes(b"video,label,p_fake,method\na,0,0.1,\nb,1,0.9,M\xff<b>\n")
    assert main([str(tmp_path / "p.csv"), "--output", str(tmp_path / "out")]) == 0
    assert '<th scope="row">M?&lt;b&gt;</th>' in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
