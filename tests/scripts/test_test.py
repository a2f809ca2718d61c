"""The test script through main([...]), as a user runs it, on a CPU."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

import SJEDD_check_data
import SJEDD_test
from evaluation.predictions_reader import read_predictions
from models.checkpoint import save_checkpoint, save_weights
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from tests.conftest import REAL
from tests.platforms import posix_only
from utils.own_files import RECORD

main = SJEDD_test.main


@pytest.fixture
def run(published_checkpoint, tmp_path):
    """Run the test with the golden checkpoint; returns (exit code, folder of the results)."""

    def call(dataset, *arguments):
        argv = ["--auc", "--dataset", dataset, "--resume", str(published_checkpoint), "--output", str(tmp_path / "out")]
        return main([*argv, "--num_workers", "0", *map(str, arguments)]), tmp_path / "out" / "SJEDD_test" / dataset

    return call


def read(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file)), json.loads((folder / "metrics.json").read_text())


@pytest.mark.numeric
def test_seed_command_gives_the_references_frames_scores_and_aucs(run, golden_crops, golden_expected, capsys):
    seed = ["--test_log", "True", "--batch_size", "1", "--n_frames", "4"]
    code, folder = run("CDF", *seed, "--datapath", golden_crops)
    assert code == 0
    rows, metrics = read(folder)
    scored = {}
    for row in rows:
        scored.setdefault(row["video"], []).append((row["frame"] + ".png", float(row["p_fake"])))
    assert list(scored) == sorted(scored, key=lambda v: (not v.startswith("Real"), v))
    for video, expected in golden_expected["videos"].items():
        assert [frame for frame, _ in scored[video]] == expected["frames"]
        assert [p for _, p in scored[video]] == pytest.approx(expected["p_fake"], abs=1e-4)
    assert metrics["frame_auc"] == pytest.approx(golden_expected["frame_auc"], abs=1e-9)
    assert metrics["video_auc"] == pytest.approx(golden_expected["video_auc"], abs=1e-9)
    assert " * AUC 33.333" in capsys.readouterr().out
    assert "CDF AUC 33.333" in (folder / "test_log.txt").read_text()
    assert (metrics["tree"], metrics["n_frames_per_video"], metrics["coverage"]) == ("ffpp", 4, 1.0)


def test_columns_and_precision_of_predictions(run, golden_crops):
    _, folder = run("CDF", "--n_frames", 2, "--datapath", golden_crops)
    header = (folder / "predictions.csv").read_text().splitlines()[0]
    nodes = "expression,identity,physical_inconsistency,eye,eyebrow,lip,mouth,nose,skin"
    assert header == f"dataset,video,frame,path,label,method,code,p_fake,logit_fake,{nodes}"
    rows, _ = read(folder)
    assert all(len(row["p_fake"].lstrip("0.")) <= 9 for row in rows)


def test_scores_do_not_depend_on_the_batch_size(run, golden_crops, tmp_path, monkeypatch):
    results = []
    monkeypatch.setattr("evaluation.data_set_scorer.MIN_FORWARD", 1)
    for batch_size in (1, 3):
        run("CDF", "--n_frames", 3, "--batch_size", batch_size, "--datapath", golden_crops, "--name", f"b{batch_size}")
        rows, _ = read(tmp_path / "out" / f"b{batch_size}" / "CDF")
        # 3e-6 between float32 and float64 here, at any batch size; 2e-3 or more between two images
        results.append([(row["path"], pytest.approx(float(row["p_fake"]), abs=1e-4)) for row in rows])
    assert [(path, p.expected) for path, p in results[0]] == results[1]


def test_prompts_are_encoded_once_and_batches_cross_video_borders(run, golden_crops, monkeypatch):
    from models.joint_embedding import JointEmbedding

    calls = []
    original = (JointEmbedding.encode_prompts, JointEmbedding.forward)
    monkeypatch.setattr(JointEmbedding, "encode_prompts", lambda self: calls.append("text") or original[0](self))
    monkeypatch.setattr(
        JointEmbedding, "forward", lambda self, x, text=None: calls.append(len(x)) or original[1](self, x, text)
    )
    monkeypatch.setattr("evaluation.data_set_scorer.MIN_FORWARD", 1)
    run("CDF", "--n_frames", 5, "--batch_size", 2, "--datapath", golden_crops)
    assert calls == ["text", 10, 10, 8]  # 28 frames: the videos have 4 to 6, of which at most 5 are taken


def test_unreadable_crops_are_dropped_and_counted_and_the_rest_scored(run, crops_copy, capsys):
    good = (crops_copy / "FakeCDF" / "id1_0001" / "0001.png").read_bytes()
    (crops_copy / "FakeCDF" / "id1_0001" / "0001.png").write_bytes(good[:3000])
    (crops_copy / "FakeCDF" / "id9_none").mkdir()
    code, folder = run("CDF", "--n_frames", 64, "--datapath", crops_copy)
    assert code == 0
    rows, metrics = read(folder)
    total = len(list(crops_copy.glob("*/*/*.png")))
    assert metrics["frames"] == len(rows) == total - 1
    assert [(drop["video"], drop["label"]) for drop in metrics["dropped"]] == [
        ("FakeCDF/id9_none", 1),
        ("FakeCDF/id1_0001", 1),
    ]
    assert metrics["dropped"][0]["reason"] == "no_crops"
    assert metrics["dropped"][1]["reason"].startswith("unreadable_image")
    assert metrics["dropped"][1]["path"].endswith("id1_0001/0001.png")
    assert metrics["coverage"] == pytest.approx(6 / 7)
    assert metrics["dropped_by_reason"] == {"no_crops": 1, "unreadable_image": 1}
    assert "dropped 2 (1 no_crops, 1 unreadable_image)" in capsys.readouterr().out


def test_settings_of_the_crops_are_recorded_and_unlike_ones_named(run, crops_copy, capsys):
    mtcnn, retinaface = {"detector": "mtcnn", "size": 317}, {"detector": "retinaface", "size": 317, "n_frames": 8}
    (crops_copy / "manifest.json").write_text(json.dumps(mtcnn))
    _, folder = run("CDF", "--n_frames", 1, "--datapath", crops_copy)
    assert (read(folder)[1]["crops"], read(folder)[1]["crops_unlike"]) == (mtcnn, [])
    (crops_copy / "RealCDF" / "manifest.json").write_text(json.dumps(retinaface))
    assert "warning" not in capsys.readouterr().out
    _, folder = run("CDF", "--n_frames", 1, "--datapath", crops_copy)
    metrics = read(folder)[1]
    assert metrics["crops"] == {str(crops_copy): mtcnn, str(crops_copy / "RealCDF"): retinaface}
    assert metrics["crops_unlike"] == [f"detector retinaface in {crops_copy / 'RealCDF'}, mtcnn in {crops_copy}"]
    assert metrics["crops_unlike"][0] in capsys.readouterr().out


def test_reference_protocol_says_what_is_not_the_references(run, crops_copy, capsys, monkeypatch):
    options = ["--n_frames", 1, "--datapath", crops_copy]
    monkeypatch.setattr("evaluation.run.choose_device", lambda *_: torch.device("cpu"))  # which refuses float16
    p_fake = {}
    for made, protocol, precision, n_lines in (
        ("ours", "reference", "float32", 2),
        ("reference", "reference", "float32", 1),
        ("reference", "reference", "float16", 0),
        ("ours", "ours", "float32", 0),
    ):
        (crops_copy / "manifest.json").write_text(json.dumps({"detector": "mtcnn", "protocol": made}))
        code, folder = run("CDF", *options, "--protocol", protocol, "--precision", precision)
        rows, metrics = read(folder)
        assert code == 0 and len(metrics["protocol_differs"]) == n_lines
        assert capsys.readouterr().out.count("warning: not the reference's protocol") == n_lines
        p_fake[precision] = np.array([float(row["p_fake"]) for row in rows])
    assert 0 < np.abs(p_fake["float16"] - p_fake["float32"]).max() < 2e-2, "7e-3 here; float16 keeps 11 bits of scores"


def test_the_references_arithmetic_is_for_its_protocol_and_for_cuda(run, golden_crops, capsys):
    options = ["--datapath", golden_crops, "--precision", "float16"]
    with pytest.raises(SystemExit, match="2"):
        run("CDF", *options)
    assert "give --protocol reference, or use bfloat16" in capsys.readouterr().err
    assert run("CDF", *options, "--protocol", "reference")[0] == 2
    assert "--precision float16 needs a CUDA device" in capsys.readouterr().err


def test_crops_that_are_not_like_those_of_the_training_are_named(crops_copy, tmp_path, capsys):
    (crops_copy / "manifest.json").write_text(json.dumps({"detector": "mtcnn", "scale": 1.3}))
    model = JointEmbedding(architecture("demo"), FFPP)
    argv = ["--dataset", "CDF", "--datapath", str(crops_copy), "--n_frames", "1", "--num_workers", "0"]
    for scale, n_lines in ((1.3, 0), (1.5, 1)):
        save_checkpoint(tmp_path / "c.pth", model, crops={"detector": "mtcnn", "scale": scale, "n_frames": 9})
        assert main([*argv, "--resume", str(tmp_path / "c.pth"), "--output", str(tmp_path)]) == 0
        assert capsys.readouterr().out.count(f"scale {scale} in the training's crops, 1.3 in {crops_copy}") == n_lines


@posix_only
def test_names_with_line_ends_of_unicode_are_tested_and_checked(run, golden_crops, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = []
    for i, path in enumerate(sorted(golden_crops.glob("*/*/0000.png"))):
        names.append(f"\u2028v{i}\u0085/\u00850\u2028.png")
        (tmp_path / names[i]).parent.mkdir()
        shutil.copy(path, tmp_path / names[i])
    (tmp_path / "list.txt").write_text("".join(f"{name} {i % 2}\n" for i, name in enumerate(names)), encoding="utf-8")
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(f"{name},{i % 2}\n" for i, name in enumerate(names)))
    for dataset in ("list", "csv"):
        code, folder = run(dataset, "--datapath", f"list.{dataset.replace('list', 'txt')}")
        assert code == 0 and [row["path"] for row in read(folder)[0]] == names
        assert read(folder)[1]["dropped"] == []
        assert read_predictions(str(folder / "predictions.csv")).paths == names
    lists = ["--txt_path_test", "list.txt", "--dataset", "csv", "--datapath", "list.csv", "--json"]
    capsys.readouterr()
    SJEDD_check_data.main(lists)
    assert json.loads(capsys.readouterr().out)["findings"] == []


def test_text_of_a_checkpoint_commands_no_terminal_and_stays_in_its_line(crops_copy, tmp_path, capsys):
    (crops_copy / "manifest.json").write_text(json.dumps({"detector": "mtcnn"}))
    nasty = "a\x1b[31mb\nEVERYTHING IS REAL\r\x9b"
    save_checkpoint(tmp_path / "c.pth", JointEmbedding(architecture("demo"), FFPP), crops={"detector": nasty})
    argv = ["--dataset", "CDF", "--datapath", str(crops_copy), "--n_frames", "1", "--num_workers", "0"]
    assert main([*argv, "--resume", str(tmp_path / "c.pth"), "--output", str(tmp_path)]) == 0
    shown = "detector a?[31mb?EVERYTHING IS REAL?? in the training's crops"
    log = (tmp_path / "SJEDD_test" / "CDF" / "log.txt").read_text(encoding="utf-8")
    assert shown in capsys.readouterr().out and shown in log


def test_crops_without_any_manifest_are_no_warning(crops_copy, crop_lists, tmp_path, capsys):
    save_checkpoint(tmp_path / "c.pth", JointEmbedding(architecture("demo"), FFPP), crops={"detector": "mtcnn"})
    common = ["--n_frames", "1", "--num_workers", "0", "--resume", str(tmp_path / "c.pth"), "--output", str(tmp_path)]
    for dataset, place, n_lines in (("CDF", crops_copy, 1), ("list", crop_lists[0], 0)):
        assert main(["--dataset", dataset, "--datapath", str(place), *common]) == 0
        said = capsys.readouterr().out
        assert (said.count("no manifest.json"), said.count("not made alike")) == (n_lines, 0)
        assert read(tmp_path / "SJEDD_test" / dataset)[1]["crops_unlike"] == []
    (crops_copy / "RealCDF" / "manifest.json").write_text('{"detector": "mtcnn"}')
    assert main(["--dataset", "CDF", "--datapath", str(crops_copy), *common]) == 0
    assert capsys.readouterr().out.count("warning: crops that were not made alike") == 1, "the fakes have none"


def test_nothing_readable_is_exit_code_2_and_leaves_no_predictions(run, crops_copy, capsys):
    for path in crops_copy.glob("*/*/*.png"):
        path.write_bytes(b"text")
    code, folder = run("CDF", "--datapath", crops_copy)
    assert code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: CDF: none of the images could be read, 30 were tried")
    assert {path.name for path in folder.iterdir()} == {"log.txt", RECORD}


def test_no_crops_at_all_is_exit_code_2(run, tmp_path, capsys):
    code, _ = run("CDF", "--datapath", tmp_path)
    assert code == 2
    assert "no face crops found" in capsys.readouterr().err


def test_list_with_codes_reports_the_nodes(run, crop_lists):
    code, folder = run("list", "--datapath", crop_lists[0], "--batch_size", 16)
    assert code == 0
    rows, metrics = read(folder)
    assert {row["code"] for row in rows} == {"0000000000", "1011111111", "1101001100"}
    assert metrics["nodes"]["expression"] is not None
    assert {row["video"].split("/")[0] for row in rows} == {"RealCDF", "FakeCDF"}
    assert metrics["n_frames_per_video"] is None


def test_list_with_labels_of_one_class_has_no_auc_and_says_so(run, crop_lists, tmp_path, capsys):
    lines = [line.split()[0] + " 1" for line in crop_lists[0].read_text().splitlines() if REAL not in line]
    (tmp_path / "fakes.txt").write_text("\n".join(lines))
    code, folder = run("list", "--datapath", tmp_path / "fakes.txt", "--batch_size", 8)
    assert code == 0
    _, metrics = read(folder)
    assert metrics["video_auc"] is None
    assert metrics["video_auc_ci95"] == [None, None]
    assert "one class only" in capsys.readouterr().out


def test_results_of_another_list_are_never_overwritten(run, crop_lists, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for perturb in ([], ["--perturb", "blur:1"]):
        assert run("list", "--datapath", crop_lists[0], "--batch_size", 16, *perturb)[0] == 0
    (tmp_path / "other.txt").write_text(crop_lists[0].read_text())
    for perturb in ([], ["--perturb", "noise:1"]):
        code, folder = run("list", "--datapath", "other.txt", *perturb)
        assert (code, read(folder)[1]["source"]) == (2, str(crop_lists[0]))
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith(f"error: {folder} holds the results of {crop_lists[0]}; give another --name")
    (folder / "metrics.json").unlink()
    assert run("list", "--datapath", "other.txt")[0] == 2, "results of a perturbed test are left"
    assert run("list", "--datapath", "other.txt", "--name", "b", "--batch_size", 16)[0] == 0
    assert run("list", "--datapath", "./train.txt", "--perturb", "blur:1", "--batch_size", 16)[0] == 0, "the same list"


def test_ffpp_reads_the_official_layout(run, golden_crops, tmp_path):
    from datasets.readers.ffpp import METHOD_CODES, compression_dir

    (tmp_path / "FF++").mkdir()
    (tmp_path / "FF++" / "test.json").write_text('[["000", "001"]]')
    for method in ("real", *METHOD_CODES):
        for video in ("000", "001") if method == "real" else ("000_001", "001_000"):
            source = golden_crops / ("RealCDF/id0_0000" if method == "real" else "FakeCDF/id1_0001")
            target = compression_dir(tmp_path, method, "c23") / "faces" / video
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)
    code, folder = run("FFpp", "--data_root", tmp_path, "--n_frames", 2)
    assert code == 0
    rows, metrics = read(folder)
    assert len(rows) == 20
    assert set(metrics["methods"]) == set(METHOD_CODES)
    assert all(figures["videos"] == 2 for figures in metrics["methods"].values())
    assert metrics["nodes"]["eye"] is not None


def test_several_data_sets_share_the_model_but_not_a_datapath(run, crop_lists, capsys):
    with pytest.raises(SystemExit) as exit_:
        run("CDF", "--dataset", "CDF", "list", "--datapath", crop_lists[0])
    assert exit_.value.code == 2
    assert "--datapath is the place of one data set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "Celeb"], "invalid choice: 'Celeb'"),
        (["--dataset", "list"], "--dataset list needs --datapath"),
        (["--test_log", "maybe"], "neither True nor False"),
        (["--gpus", "5"], "unrecognized arguments"),
        (["--n_frames", "0"], "not a positive"),
        (["--resume", "none.pth"], "does not exist"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(run, capsys, arguments, message):
    try:
        code, _ = run("CDF", *arguments)
    except SystemExit as exit_:
        code = exit_.code
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_checkpoint_that_is_none_is_exit_code_2(tmp_path, capsys, golden_crops):
    (tmp_path / "no.pth").write_text("hello")
    assert main(["--dataset", "CDF", "--resume", str(tmp_path / "no.pth"), "--datapath", str(golden_crops)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_checkpoint_in_other_wrappers_gives_the_same_predictions(tmp_path, capsys, golden_crops):
    model = JointEmbedding(architecture("demo"), FFPP)
    save_checkpoint(tmp_path / "ours.pth", model)
    save_weights(tmp_path / "ours.safetensors", model)
    content = torch.load(tmp_path / "ours.pth", weights_only=True)
    state = {f"module._orig_mod.{key}": value for key, value in content.pop("model").items()}
    torch.save(content | {"state_dict": state, "max_accuracy": np.float64(0.93)}, tmp_path / "wrapped.pth")
    predictions = set()
    for name in ("ours.pth", "ours.safetensors", "wrapped.pth"):
        argv = ["--dataset", "CDF", "--datapath", str(golden_crops), "--num_workers", "0", "--n_frames", "2"]
        assert main([*argv, "--resume", str(tmp_path / name), "--output", str(tmp_path / f"out {name}")]) == 0
        predictions.add((tmp_path / f"out {name}" / "SJEDD_test" / "CDF" / "predictions.csv").read_text())
        assert ("prefixes are dropped" in capsys.readouterr().err) == (name == "wrapped.pth")
    assert len(predictions) == 1


def test_output_that_cannot_be_written_is_exit_code_2(run, golden_crops, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    code, _ = run("CDF", "--datapath", golden_crops, "--output", tmp_path / "file")
    assert code == 2
    assert "cannot write to the output folder" in capsys.readouterr().err


def test_train_then_test_end_to_end(crop_lists, tmp_path, golden_crops):
    import SJEDD_train_FFpp

    train, val = crop_lists
    command = f"--VM demo --num_epoch 3 --batch_size 8 --num_workers 0 --initial_lr 1e-3 --output {tmp_path} --tag t"
    assert SJEDD_train_FFpp.main([*command.split(), "--txt_path_train", str(train), "--txt_path_val", str(val)]) == 0
    best = tmp_path / "SJEDD" / "t" / "ckpt_best.pth"
    argv = ["--dataset", "CDF", "--resume", str(best), "--datapath", str(golden_crops), "--output", str(tmp_path)]
    assert main([*argv, "--num_workers", "0"]) == 0
    _, metrics = read(tmp_path / "SJEDD_test" / "CDF")
    assert metrics["video_auc"] == 1.0, "tested on what it was trained on"
    assert metrics["video_acc_at_threshold"] == 1.0
    assert metrics["n_frames_per_video"] == 64


@pytest.mark.parametrize("threshold", ["0.5", [1], float("nan"), 7.0])
def test_damaged_threshold_is_refused_before_scoring(tmp_path, capsys, threshold):
    save_checkpoint(tmp_path / "c.pth", JointEmbedding(architecture("demo"), FFPP), threshold=threshold)
    assert main(["--dataset", "CDF", "--resume", str(tmp_path / "c.pth"), "--output", str(tmp_path)]) == 2
    assert "damaged decision threshold" in capsys.readouterr().err


def test_failed_run_leaves_no_metrics_of_an_earlier_one(run, crops_copy, capsys):
    assert run("CDF", "--n_frames", 1, "--datapath", crops_copy)[0] == 0
    for path in crops_copy.glob("*/*/*.png"):
        path.write_bytes(b"text")
    code, folder = run("CDF", "--n_frames", 1, "--datapath", crops_copy)
    assert code == 2
    assert not (folder / "metrics.json").exists()


def test_precision_bfloat16_is_near_and_recorded(run, golden_crops, golden_expected):
    code, folder = run("CDF", "--n_frames", 4, "--datapath", golden_crops, "--precision", "bfloat16")
    assert code == 0
    rows, metrics = read(folder)
    assert metrics["precision"] == "bfloat16"
    exact = {
        (video, name.removesuffix(".png")): p
        for video, expected in golden_expected["videos"].items()
        for name, p in zip(expected["frames"], expected["p_fake"], strict=True)
    }
    near, exact = np.array([(float(row["p_fake"]), exact[row["video"], row["frame"]]) for row in rows]).T
    # Random weights: scores of size 3, rounded to one part in 256 some 40 times, move P by 0.016 (its deviation).
    assert 1e-4 < np.abs(near - exact).max() < 0.1
    assert np.corrcoef(near, exact)[0, 1] > 0.97


def test_labels_that_are_the_wrong_way_round_are_asked_about(run, golden_crops, tmp_path, capsys):
    _, folder = run("CDF", "--datapath", golden_crops)
    rows, _ = read(folder)
    ranked = sorted(rows, key=lambda row: float(row["logit_fake"]))
    for name, labels in (("right", (0, 1)), ("wrong", (1, 0))):
        lines = [f"{row['path']},{labels[2 * i >= len(ranked)]}\n" for i, row in enumerate(ranked)]
        (tmp_path / f"{name}.csv").write_text("path,label\n" + "".join(lines))
        capsys.readouterr()
        assert run("csv", "--datapath", tmp_path / f"{name}.csv", "--name", name)[0] == 0
        assert ("are the labels swapped?" in capsys.readouterr().out) == (name == "wrong")
