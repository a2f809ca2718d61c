"""The test script on every data set, several in one run, and what the most used benchmark gets wrong."""

import csv
import json
import math
import shlex
import shutil

import numpy as np
import pytest

import SJEDD_test
from datasets.test_sets import TEST_SETS
from evaluation.metrics import evaluate
from tests.layouts import FFSC_AGE, FFSC_REAL

main = SJEDD_test.main


@pytest.fixture
def call(published_checkpoint, tmp_path):
    """Run the test with the golden checkpoint on data sets below tmp_path/data."""

    def run(*arguments):
        place = ["--data_root", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--num_workers", "0"]
        return main(["--resume", str(published_checkpoint), *place, *map(str, arguments)])

    return run


@pytest.fixture
def results(tmp_path):
    """(rows of predictions.csv, metrics) of a data set of the last run."""

    def read(dataset, name="SJEDD_test"):
        folder = tmp_path / "out" / name / dataset
        with (folder / "predictions.csv").open(newline="") as file:
            return list(csv.DictReader(file)), json.loads((folder / "metrics.json").read_text())

    return read


SEED_COMMAND = (
    "CUDA_VISIBLE_DEVICES=5 python SJEDD_test.py --auc --test_log True --dataset [e.g., CDF, FSh, Deeper, DFDC, FFSC] "
    "--batch_size 1 --n_frames 64 --resume [path to checkpoints, e.g., ./pretrained/ckpt_best.pth]"
)


@pytest.mark.parametrize("dataset", ["CDF", "FSh", "Deeper", "DFDC", "FFSC"])
def test_seed_command_word_for_word(dataset, layouts, published_checkpoint, tmp_path, monkeypatch, capsys):
    layouts.ffpp(methods=("real",))
    layouts.celeb_df()
    layouts.faceshifter()
    layouts.deeperforensics()
    layouts.dfdc()
    layouts.images("FFSC", (FFSC_REAL, FFSC_AGE))
    (tmp_path / "pretrained").mkdir()
    (tmp_path / "pretrained" / "ckpt_best.pth").symlink_to(published_checkpoint)
    monkeypatch.chdir(tmp_path)
    command = SEED_COMMAND.replace("[e.g., CDF, FSh, Deeper, DFDC, FFSC]", dataset)
    command = command.replace("[path to checkpoints, e.g., ./pretrained/ckpt_best.pth]", "./pretrained/ckpt_best.pth")
    assert main(shlex.split(command)[3:]) == 0
    folder = tmp_path / "output" / "SJEDD_test" / dataset
    metrics = json.loads((folder / "metrics.json").read_text())
    auc = metrics["frame_auc" if dataset == "FFSC" else "video_auc"]
    assert f" * AUC {100 * auc:.3f}\n" in capsys.readouterr().out
    assert (folder / "test_log.txt").read_text() == f"./pretrained/ckpt_best.pth {dataset} AUC {100 * auc:.3f}\n"
    assert metrics["dataset"] == dataset and metrics["protocol"] == "ours"
    videos = {"CDF": 6, "FSh": 8, "Deeper": 7, "DFDC": 6, "FFSC": 30}[dataset]
    assert (metrics["videos"], metrics["n_frames_per_video"]) == (videos, None if dataset == "FFSC" else 64)
    assert metrics["coverage"] == pytest.approx(6 / 7 if dataset == "DFDC" else 1)
    methods = {"CDF": ["Celeb-synthesis"], "FSh": ["FaceShifter"], "Deeper": ["end_to_end"], "FFSC": ["age"]}.get(
        dataset, []
    )
    assert list(metrics["methods"]) == methods


def test_an_image_has_one_score_in_whatever_format_and_company(call, layouts, results, golden_crops, tmp_path, capsys):
    layouts.images("DiFF")
    for label, name in enumerate(("real", "fake")):
        (tmp_path / "tree" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "tree" / name).symlink_to(golden_crops / ("RealCDF", "FakeCDF")[label])
    assert call("--dataset", "DiFF", "--batch_size", 7) == 0
    assert call("--dataset", "folder", "--datapath", tmp_path / "tree") == 0
    videos = {"_".join(row["path"].split("/")[-2:]): float(row["p_fake"]) for row in results("folder")[0]}
    images = {row["path"].split("/")[-1]: float(row["p_fake"]) for row in results("DiFF")[0]}
    assert len(images) == 30
    said = capsys.readouterr().out
    assert "DiFF: 30 images (15 real, 15 fake), coverage" in said
    assert "folder: 6 videos (3 real, 3 fake), 30 frames, coverage" in said
    assert [results(name)[1]["image_level"] for name in ("DiFF", "folder")] == [True, False]
    assert images == pytest.approx(videos, abs=1e-5)


def test_several_data_sets_encode_the_prompts_once_and_end_in_one_table(call, layouts, results, monkeypatch, capsys):
    from models.joint_embedding import JointEmbedding

    calls = []
    encode = JointEmbedding.encode_prompts
    monkeypatch.setattr(JointEmbedding, "encode_prompts", lambda self: calls.append(1) or encode(self))
    layouts.ffpp(methods=("real",))
    layouts.faceshifter()
    layouts.dfdc()
    assert call("--dataset", "FSh", "DFDC", "FSh", "--n_frames", 2, "--auc") == 0
    assert calls == [1]
    lines = capsys.readouterr().out.strip().splitlines()
    assert " ".join(lines[-3].split()) == "data set videos frames frame AUC video AUC EER coverage dropped"
    metrics = results("DFDC")[1]
    percents = [f"{100 * metrics[name]:.3f}" for name in ("frame_auc", "video_auc", "video_eer")]
    assert lines[-1].split() == ["DFDC", "6", "12", *percents, "0.8571", "1"]
    assert lines[-2].split()[:3] == ["FSh", "8", "16"]
    assert sum(line.startswith(" * AUC ") for line in lines) == 2


def test_one_failing_data_set_stops_no_other(call, layouts, results, tmp_path, capsys):
    layouts.dfdc()
    layouts.images("DiFF")
    assert call("--dataset", "DFDC", "FSh", "DiFF", "--n_frames", 2) == 2
    captured = capsys.readouterr()
    lines = captured.out.strip().splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["DFDC", "FSh", "DiFF"]
    assert "failed: " in lines[-2] and "test.json is missing" in lines[-2]
    error = captured.err.strip().splitlines()[-1]
    assert error.startswith("error: 1 of 3 data sets failed; FSh: ") and "test.json is missing" in error
    assert "FSh failed: /" in (tmp_path / "out" / "SJEDD_test" / "FSh" / "log.txt").read_text()
    assert results("DFDC")[1]["frames"] == 12 and results("DiFF")[1]["frames"] == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["json"], "--dataset json needs --datapath FILE"),
        (["csv", "CDF"], "--dataset csv needs --datapath FILE, and to be the only data set"),
        (["folder"], "--dataset folder needs --datapath DIR, the folder that holds real/ and fake/"),
        (["CDF", "DFDC", "--split", "val"], "--split changes nothing for CDF, DFDC"),
        (["FFSC", "--compression", "c40"], "--compression changes nothing for FFSC"),
        (["CDF", "--protocol", "theirs"], "invalid choice: 'theirs'"),
        (["CDF", "FSh", "--datapath", "x"], "--datapath is the place of one data set"),
        (["CDF", "--seed", "-1"], "is negative"),
    ],
)
def test_options_that_are_surely_a_mistake(call, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        call("--dataset", *arguments)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_every_data_set_that_is_not_there_is_one_line(call, tmp_path, capsys):
    for name in TEST_SETS:
        place = ["--datapath", tmp_path / "nothing"] if TEST_SETS[name].needs_datapath else []
        assert call("--dataset", name, *place) == 2, name
        error = capsys.readouterr().err
        assert error.startswith("error: ") and len(error.strip().splitlines()) == 1, error


def test_protocol_is_recorded_printed_and_changes_what_is_tested(call, layouts, results, capsys):
    layouts.dfdc()
    assert call("--dataset", "DFDC", "--n_frames", 5, "--protocol", "reference") == 0
    metrics = results("DFDC")[1]
    assert metrics["protocol"] == "reference"
    assert "protocol reference" in capsys.readouterr().out
    short = [drop for drop in metrics["dropped"] if drop["reason"].startswith("too_few_crops")]
    assert short and metrics["coverage"] == pytest.approx(metrics["videos"] / 7)
    assert call("--dataset", "DFDC", "--n_frames", 5) == 0
    assert results("DFDC")[1]["videos"] == metrics["videos"] + len(short)


def test_split_of_ffpp(call, layouts, results):
    layouts.ffpp()
    (layouts.root / "FF++" / "test.json").rename(layouts.root / "FF++" / "val.json")
    assert call("--dataset", "FFpp", "--n_frames", 1, "--split", "val") == 0
    rows, metrics = results("FFpp")
    assert metrics["videos"] == 20 and len(metrics["methods"]) == 4
    assert all(figures["videos"] == 4 for figures in metrics["methods"].values())
    assert len({row["video"] for row in rows if row["video"].endswith("/000_001")}) == 4


def test_a_failed_load_never_becomes_another_sample(call, layouts, results, tmp_path):
    root = layouts.images("DiFF")
    lines = (root / "DiFF" / "DiFFtest.txt").read_text().splitlines()
    broken, gone = (root / "DiFF" / lines[i].split()[0] for i in (0, 17))
    broken.unlink()
    broken.write_bytes(b"no image")
    gone.unlink()
    assert call("--dataset", "DiFF", "--batch_size", 4) == 0
    rows, metrics = results("DiFF")
    assert len(rows) == metrics["frames"] == 28
    assert not {str(broken), str(gone)} & {row["path"] for row in rows}
    assert len({row["path"] for row in rows}) == 28
    reasons = {drop["path"]: (drop["video"], drop["reason"].split(":")[0]) for drop in metrics["dropped"]}
    assert reasons == {str(broken): (str(broken), "unreadable_image"), str(gone): (str(gone), "missing_file")}
    assert metrics["coverage"] == pytest.approx(28 / 30)
    assert (metrics["coverage_real"], metrics["coverage_fake"]) == (pytest.approx(14 / 15), pytest.approx(14 / 15))


def test_json_frames_that_are_missing_are_dropped_not_replaced(call, results, golden_crops, tmp_path):
    content = {}
    for folder, label in (("RealCDF", "CelebDFv2_real"), ("FakeCDF", "CelebDFv2_fake")):
        videos = {}
        for video in sorted((golden_crops / folder).iterdir()):
            names = [f"\\{folder}\\{video.name}\\{i:04d}.png" for i in range(8)]  # the last ones do not exist
            videos[video.name] = {"label": label, "frames": names}
        content[label] = {"test": videos}
    (tmp_path / "x.json").write_text(json.dumps({"Celeb-DF-v2": content}))
    (tmp_path / "data").symlink_to(golden_crops)
    assert call("--dataset", "json", "--datapath", tmp_path / "x.json", "--n_frames", 8) == 0
    rows, metrics = results("json")
    assert len(rows) == len(list(golden_crops.glob("*/*/*.png"))) == 30
    assert {drop["reason"] for drop in metrics["dropped"]} == {"missing_file"} and len(metrics["dropped"]) == 18
    assert metrics["coverage"] == 1 and metrics["videos"] == 6 and metrics["n_frames_per_video"] == 8
    assert {row["video"].split("/")[0] for row in rows} == {"CelebDFv2_real", "CelebDFv2_fake"}


def test_shuffled_list_gives_the_same_files(call, crop_lists, tmp_path):
    lines = crop_lists[0].read_text().splitlines()
    files = []
    for name, order in (("a", lines), ("b", np.random.default_rng(0).permutation(lines))):
        crop_lists[0].write_text("\n".join(order))
        assert call("--dataset", "list", "--datapath", crop_lists[0], "--name", name, "--batch_size", 7) == 0
        files.append([(tmp_path / "out" / name / "list" / f).read_bytes() for f in ("predictions.csv", "metrics.json")])
    assert files[0] == files[1]


def test_n_frames_of_a_list_counts_only_when_given(call, crop_lists, results):
    assert call("--dataset", "list", "--datapath", crop_lists[0], "--batch_size", 16) == 0
    rows, metrics = results("list")
    assert {row["dataset"] for row in rows} == {"list"}
    assert (len(rows), metrics["videos"], metrics["n_frames_per_video"]) == (30, 6, None)
    assert call("--dataset", "list", "--datapath", crop_lists[0], "--n_frames", 2, "--batch_size", 3) == 0
    rows, metrics = results("list")
    assert (len(rows), metrics["videos"], metrics["n_frames_per_video"]) == (12, 6, 2)


def test_list_with_images_that_do_not_exist_tests_the_others(call, crop_lists, results, capsys):
    crop_lists[0].write_text(crop_lists[0].read_text().replace("id1_0001/0001.png", "id1_0001/9999.png"))
    assert call("--dataset", "list", "--datapath", crop_lists[0], "--batch_size", 16) == 0
    _, metrics = results("list")
    assert [drop["reason"] for drop in metrics["dropped"]] == ["missing_file"]
    assert metrics["dropped"][0]["path"].endswith("9999.png") and metrics["frames"] == 29
    assert "9999.png: missing_file" in capsys.readouterr().out


def test_batch_size_counts_videos_or_images_and_no_forward_is_small(call, layouts, monkeypatch):
    from models.joint_embedding import JointEmbedding

    sizes = []
    forward = JointEmbedding.forward
    monkeypatch.setattr(JointEmbedding, "forward", lambda self, x, text: sizes.append(len(x)) or forward(self, x, text))
    layouts.dfdc()
    layouts.images("DiFF")
    assert call("--dataset", "DFDC", "DiFF", "--batch_size", 1, "--n_frames", 1) == 0
    assert sizes == [6, 30]
    sizes.clear()
    monkeypatch.setattr("evaluation.data_set_scorer.MIN_FORWARD", 4)
    assert call("--dataset", "DFDC", "DiFF", "--batch_size", 1, "--n_frames", 3) == 0
    assert sizes == [4, 4, 4, 4, 2] + [4] * 7 + [2]
    sizes.clear()
    assert call("--dataset", "DFDC", "DiFF", "--batch_size", 7, "--n_frames", 3) == 0
    assert sizes == [18] + [7, 7, 7, 7, 2]


def test_metrics_are_those_of_the_predictions_file(call, layouts, results):
    layouts.ffpp()
    assert call("--dataset", "FFpp", "--n_frames", 3) == 0
    rows, metrics = results("FFpp")
    nodes = [name.replace("_", " ") for name in list(rows[0])[9:]]
    again = json.loads(json.dumps(evaluate(rows, nodes, None, 20)))
    assert {name: metrics[name] for name in again} == again
    assert metrics["nodes"]["eye"] is not None


def test_calibration_adds_a_column_and_changes_nothing_else(call, layouts, results, tmp_path, capsys):
    layouts.dfdc()
    arguments = ("--dataset", "DFDC", "--n_frames", 3)
    assert call(*arguments) == 0
    rows, metrics = results("DFDC")
    assert "calibration" not in metrics
    (tmp_path / "calibration.json").write_text('{"temperature": 2.5, "checkpoint": "another.pth"}')
    assert call(*arguments, "--calibration", tmp_path / "calibration.json") == 0
    assert "calibration.json was fitted on scores of another.pth" in capsys.readouterr().out
    calibrated_rows, calibrated = results("DFDC")
    assert list(calibrated_rows[0])[-1] == "p_fake_calibrated"
    for row in calibrated_rows:
        p = 1 / (1 + math.exp(-float(row["logit_fake"]) / 2.5))
        assert float(row.pop("p_fake_calibrated")) == pytest.approx(p, rel=1e-8)
    assert calibrated_rows == rows
    figures = calibrated.pop("calibration")
    assert calibrated == metrics
    assert (figures["temperature"], figures["of_another_checkpoint"]) == (2.5, True)
    assert figures["ece_before"] != figures["ece_after"]
    for calibration, p_of in (
        ({"method": "platt", "slope": 0.5, "intercept": 1.0}, lambda z: 1 / (1 + math.exp(-0.5 * z - 1))),
        ({"method": "isotonic", "logits": [-100, 100], "p_fake": [0.2, 0.6]}, lambda z: 0.4 + 0.002 * z),
    ):
        (tmp_path / "calibration.json").write_text(json.dumps(calibration))
        assert call(*arguments, "--calibration", tmp_path / "calibration.json") == 0
        calibrated_rows, calibrated = results("DFDC")
        for row in calibrated_rows:
            assert float(row["p_fake_calibrated"]) == pytest.approx(p_of(float(row["logit_fake"])), rel=1e-8)
        assert calibration.items() <= calibrated["calibration"].items()
    (tmp_path / "calibration.json").write_text('{"temperature": 0}')
    capsys.readouterr()
    assert call(*arguments, "--calibration", tmp_path / "calibration.json") == 2
    assert "holds no temperature above 0" in capsys.readouterr().err


def test_a_list_whose_class_is_one_folder_is_told_apart_from_a_video(call, golden_crops, tmp_path, capsys):
    images = [(path, int("Fake" in str(path))) for name in ("RealCDF/id0_0000", "FakeCDF/id1_0001")
              for path in sorted((golden_crops / name).iterdir())]  # fmt: skip
    (tmp_path / "l.txt").write_text("".join(f"{path} {label}\n" for path, label in images))
    assert call("--dataset", "list", "--datapath", tmp_path / "l.txt", "--batch_size", 16) == 0
    assert "all images of a class are in one folder and count as one video" in capsys.readouterr().out


def test_what_a_reader_decides_and_does_not_read_is_told(call, golden_crops, results, tmp_path, capsys):
    for folder, crops in {"real": "RealCDF", "DF": "FakeCDF", "F2F": "FakeCDF"}.items():
        shutil.copytree(golden_crops / crops, tmp_path / "tree" / folder)
    assert call("--dataset", "folder", "--datapath", tmp_path / "tree", "--n_frames", 2) == 0
    said = capsys.readouterr().out
    assert "each other folder of images is a method of the fakes: DF, F2F\n" in said
    assert list(results("folder")[1]["methods"]) == ["DF", "F2F"] and results("folder")[1]["videos"] == 9
    (tmp_path / "tree" / "DF").rename(tmp_path / "tree" / "fake")
    assert call("--dataset", "folder", "--datapath", tmp_path / "tree", "--n_frames", 2) == 0
    assert "not read, because they are no class folders: F2F/ (15 images)\n" in capsys.readouterr().out
    paths = [row["path"] for row in results("folder")[0]]
    (tmp_path / "data").symlink_to(tmp_path / "tree")
    lines = [f"{path.replace(str(tmp_path / 'tree'), '/nowhere/else')} {int('/real/' not in path)}" for path in paths]
    (tmp_path / "l.txt").write_text("\n".join([*lines, lines[0]]))
    assert call("--dataset", "list", "--datapath", tmp_path / "l.txt") == 0
    said = capsys.readouterr().out
    assert (
        f"13 of 13 paths start with /nowhere/else/, which does not exist: they are read from {tmp_path}/data/" in said
    )
    assert "dropped 1 (1 duplicate)" in said and results("list")[1]["frames"] == 12
