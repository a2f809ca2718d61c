import contextlib
import csv
import json

import numpy as np
import pytest

import SJEDD_test
from datasets.perturbations import parse_perturbation, whole_suite
from evaluation import robustness
from evaluation.data_set_scorer import DataSetScorer
from evaluation.robustness import robustness_table
from utils.own_files import RECORD


@pytest.fixture
def run(published_checkpoint, golden_crops, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def call(*options, name="run"):
        argv = ["--dataset", "CDF", "--datapath", str(golden_crops), "--resume", str(published_checkpoint)]
        argv += ["--output", str(tmp_path), "--name", name, "--n_frames", "1", "--num_workers", "0"]
        return SJEDD_test.main([*argv, *options])

    call.folder = tmp_path / "run" / "CDF"
    return call


def rows_of(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_perturbation_lies_beside_the_clean_test(run, capsys):
    assert run() == run("--perturb", "noise:5") == run("--perturb", "noise:1") == 0
    clean, weak, strong = (rows_of(run.folder / name) for name in (".", "noise_1", "noise_5"))
    for row in (clean, weak, strong):
        assert [r["path"] for r in row] == [r["path"] for r in clean]
    shift = [
        np.mean([abs(float(a["p_fake"]) - float(b["p_fake"])) for a, b in zip(clean, rows, strict=True)])
        for rows in (weak, strong)
    ]
    assert 0 < shift[0] < shift[1]
    assert json.loads((run.folder / "metrics.json").read_text())["perturbation"] is None
    assert json.loads((run.folder / "noise_5" / "metrics.json").read_text())["perturbation"] == "noise:5"
    assert run("--perturb", "noise:5", "--test_log", "--auc", name="again") == 0
    out = capsys.readouterr().out
    assert "CDF noise:5: 6 videos" in out
    assert next(line for line in out.splitlines() if line.startswith(" * AUC")).endswith("noise:5")
    log = run.folder.parents[1] / "again" / "CDF" / "noise_5" / "test_log.txt"
    assert " CDF noise:5 AUC " in log.read_text()
    assert not (log.parent.parent / "test_log.txt").exists()
    assert rows_of(run.folder.parents[1] / "again" / "CDF" / "noise_5") == strong


def test_the_suite_gives_a_row_per_perturbation_and_level(run, monkeypatch, capsys):
    suite = [perturbation for perturbation in whole_suite() if perturbation.name in ("contrast", "compression")]
    monkeypatch.setattr(robustness, "whole_suite", lambda: suite)
    assert run("--robustness") == 0
    with (run.folder / "robustness.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["perturbation"], row["level"]) for row in rows] == [
        ("none", "0"),
        *((p.name, str(p.level)) for p in suite),
    ]
    for row in rows[1:]:
        folder = run.folder / "robustness" / f"{row['perturbation']}_{row['level']}"
        metrics = json.loads((folder / "metrics.json").read_text())
        assert float(row["video_auc"]) == pytest.approx(metrics["video_auc"], abs=1e-6)
        assert metrics["frames"] == 6
    assert (run.folder / "robustness.png").read_bytes()[:4] == b"\x89PNG"
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-2:]] == ["contrast", "compression"]


def test_a_new_test_removes_the_robustness_of_the_one_before(run, monkeypatch):
    monkeypatch.setattr(robustness, "whole_suite", lambda: [parse_perturbation("blur:1"), parse_perturbation("blur:2")])
    assert run("--robustness") == 0
    assert run("--perturb", "blur:3") == 0
    assert (run.folder / "robustness.csv").exists() and (run.folder / "robustness" / "blur_1" / "metrics.json").exists()
    assert run() == 0
    left = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    left.remove(RECORD)
    assert left == {"log.txt", "metrics.json", "predictions.csv", "blur_3/metrics.json", "blur_3/predictions.csv"}


def test_a_suite_that_is_stopped_leaves_what_it_has(run, monkeypatch):
    done = DataSetScorer.score

    def stopped(*arguments):
        if str(arguments[-1]) == "blur:2":
            raise KeyboardInterrupt
        return done(*arguments)

    monkeypatch.setattr(robustness, "whole_suite", lambda: [parse_perturbation("blur:1"), parse_perturbation("blur:2")])
    monkeypatch.setattr(DataSetScorer, "score", stopped)
    with contextlib.suppress(SystemExit):
        assert run("--robustness") == 130
    rows = (run.folder / "robustness.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [["none", "0"], ["blur", "1"]]


def test_without_ffmpeg_compression_is_left_out_of_the_suite_and_refused_alone(run, monkeypatch, capsys):
    for module in ("run", "robustness"):
        monkeypatch.setattr(f"evaluation.{module}.compression_unavailable", lambda: "there is no ffmpeg")
    suite = [parse_perturbation(text) for text in ("blur:1", "compression:1")]
    monkeypatch.setattr(robustness, "whole_suite", lambda: suite)
    assert run("--perturb", "compression:1") == 2
    assert "there is no ffmpeg" in capsys.readouterr().err
    assert run("--robustness") == 0
    assert "compression is left out: there is no ffmpeg" in capsys.readouterr().out
    assert [path.name for path in (run.folder / "robustness").iterdir()] == ["blur_1"]


@pytest.mark.parametrize("options", [["--perturb", "noise:6"], ["--robustness", "--perturb", "blur:1"]])
def test_what_is_no_perturbation_is_refused(run, options, capsys):
    try:
        code = run(*options)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_table_of_one_class():
    text = "\n".join(robustness_table({"blur": [None, 0.5, None]}))
    assert text.splitlines()[1].split() == ["blur", "-", "50.00", "-", "-"]
