"""Files that no script made are neither replaced nor removed, whatever their names are."""

import numpy as np
import pytest
from PIL import Image

import SJEDD_predict
import SJEDD_report
import SJEDD_test
import SJEDD_train_FFpp
from preprocessing import make_lists


def run(script, *argv):
    try:
        return script.main([*map(str, argv)])
    except SystemExit as stop:
        return stop.code


def refuses(script, file, capsys, *argv):
    """Whether the script leaves a file of the user alone and says so in one line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    assert run(script, *argv) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(file) in error, error
    assert file.read_text() == "mine"
    file.unlink()
    return True


@pytest.fixture
def holiday(tmp_path):
    """A folder with a photograph and, in a folder of its name, what a user might have beside it."""
    folder = tmp_path / "mine"
    (folder / "holiday").mkdir(parents=True)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "holiday.jpg")
    for name in ("heat_wave.jpg", "heat_1_nose.jpg", "annotated.svg", "annotated.jpg", ".tmp-note", "prediction.json"):
        (folder / "holiday" / name).write_text("mine")
    return folder


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_prediction_into_the_folder_of_the_photographs(holiday, published_checkpoint, capsys):
    before = snapshot(holiday)
    argv = ("--resume", published_checkpoint, "--detector", "mtcnn", "--input", holiday, "--output", holiday)
    for _ in range(2):
        assert run(SJEDD_predict, *argv) == 0
        rest = snapshot(holiday)
        assert {path: rest[path] for path in before} == before
    new = {path.relative_to(holiday).as_posix() for path in rest.keys() - before.keys()}
    assert {"predictions.csv", "holiday_2/prediction.json"} <= new
    capsys.readouterr()
    out = holiday.parent / "out"
    argv = ("--resume", published_checkpoint, "--input", holiday / "holiday.jpg", "--output", out)
    assert refuses(SJEDD_predict, out / "predictions.csv", capsys, *argv)


def test_a_report_and_a_calibration(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = [f"v{i},{i % 2},{0.4 * (i % 2) + 0.6 * rng.random():.4f},{rng.normal() + i % 2:.4f}" for i in range(40)]
    (tmp_path / "p.csv").write_text("\n".join(["video,label,p_fake,logit_fake", *rows]) + "\n")
    out = tmp_path / "out"
    argv = (tmp_path / "p.csv", "--output", out)
    for name in ("report.html", "comparison.json", "roc.png", "methods.png"):
        assert refuses(SJEDD_report, out / name, capsys, *argv)
    assert refuses(SJEDD_report, out / "calibration.json", capsys, *argv, "--calibrate")
    assert run(SJEDD_report, *argv) == run(SJEDD_report, *argv) == 0, "an earlier report is replaced"
    assert not (out / "methods.png").exists()
    assert refuses(SJEDD_report, out / "methods.png", capsys, *argv)


def test_a_test_and_its_summary(published_checkpoint, golden_crops, tmp_path, capsys):
    argv = ("--resume", published_checkpoint, "--dataset", "CDF", "--datapath", golden_crops, "--n_frames", 1)
    argv += ("--num_workers", 0, "--output", tmp_path, "--name", "t")
    out = tmp_path / "t" / "CDF"
    for name in ("predictions.csv", "metrics.json", "log.txt", "robustness.csv", "robustness/blur_1/metrics.json"):
        assert refuses(SJEDD_test, out / name, capsys, *argv)
    pickle = out / "metric_dict_best.pickle"
    assert refuses(SJEDD_test, pickle, capsys, *argv, "--submission", "deepfakebench")
    perturbed = ("--perturb", "blur:2")
    assert refuses(SJEDD_test, out / "blur_2" / "predictions.csv", capsys, *argv, *perturbed)
    (out / "log.txt").write_text("mine")
    both = ("--resume", published_checkpoint, "--dataset", "CDF", "FSh", "--data_root", tmp_path, "--output", tmp_path)
    assert run(SJEDD_test, *both, "--name", "t") == 2
    printed = capsys.readouterr()
    assert "2 of 2 data sets failed" in printed.err
    assert "CDF failed: " in printed.out and "FSh failed: " in printed.out
    (out / "log.txt").unlink()
    (out / "robustness" / "mine").mkdir()
    (out / "robustness" / "mine" / "metrics.json").write_text("mine")
    pickle.write_text("mine")
    assert run(SJEDD_test, *argv) == run(SJEDD_test, *argv, *perturbed) == run(SJEDD_test, *argv, *perturbed) == 0
    assert pickle.read_text() == (out / "robustness" / "mine" / "metrics.json").read_text() == "mine"
    assert refuses(SJEDD_report, out / "summary.png", capsys, out, "--summary")
    assert run(SJEDD_report, out, "--summary") == run(SJEDD_report, out, "--summary") == 0


def test_a_training(crop_lists, tmp_path, capsys):
    train, val = crop_lists
    argv = ("--VM", "demo", "--num_epoch", 1, "--batch_size", 4, "--num_workers", 0, "--output", tmp_path)
    argv += ("--name", "run", "--tag", "t", "--txt_path_train", train, "--txt_path_val", val)
    out = tmp_path / "run" / "t"
    for name in ("args.json", "metrics.jsonl", "log.txt", "ckpt_best.pth", "ckpt_epoch000.pth"):
        assert refuses(SJEDD_train_FFpp, out / name, capsys, *argv)
    mine = [out / f"ckpt_epoch{name}.pth" for name in ("_mine", "000_copy", "0000")]
    for path in mine:
        path.write_text("mine")
    assert run(SJEDD_train_FFpp, *argv, "--keep", 1) == 0
    (out / ".sjedd_files.json").unlink()  # as in a copy without hidden files
    assert run(SJEDD_train_FFpp, "--resume", out / "ckpt_last.pth", "--num_epoch", 2) == 0
    assert [path.read_text() for path in mine] == ["mine"] * 3
    assert (out / "ckpt_epoch001.pth").exists() and not (out / "ckpt_epoch000.pth").exists()
    (out / "log.txt").replace(tmp_path / "victim")
    (out / "log.txt").symlink_to(tmp_path / "victim")
    capsys.readouterr()
    before = (tmp_path / "victim").read_text()
    assert run(SJEDD_train_FFpp, "--resume", out / "ckpt_last.pth", "--num_epoch", 3) == 2
    assert "log.txt is a link, and nothing is written through it" in capsys.readouterr().err
    assert (tmp_path / "victim").read_text() == before
    assert refuses(SJEDD_train_FFpp, tmp_path / "blends.png", capsys, *argv, "--self_blend", 0.5, "--preview",
                   tmp_path / "blends.png")  # fmt: skip


def test_lists(tmp_path, golden_crops, capsys):
    for name, folder in (("real", "RealCDF"), ("fake", "FakeCDF")):
        (tmp_path / name).symlink_to(golden_crops / folder)
    argv = ("--dataset", "folder", "--datapath", tmp_path, "--output", tmp_path / "lists")
    for name in ("train.txt", "train.recipe.json"):
        assert refuses(make_lists, tmp_path / "lists" / name, capsys, *argv)
