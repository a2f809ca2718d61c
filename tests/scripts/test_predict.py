"""The prediction script through main([...]), as a user runs it, on a CPU, with the detector that comes in a wheel."""

import csv
import json
import os
import shutil
import subprocess
import sys

import cv2
import jsonschema
import numpy as np
import pytest
import skimage.data
from PIL import Image

import SJEDD_predict
import SJEDD_test
from models.checkpoint import save_checkpoint
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from prediction import pipeline
from preprocessing import extract_faces
from preprocessing.demo.videos import write_video
from tests.conftest import ROOT
from tests.platforms import posix_only
from utils.own_files import RECORD

main = SJEDD_predict.main


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A video and a photo of a person, one of two people, one of nobody, and a file that is neither; not to be
    changed."""
    folder = tmp_path_factory.mktemp("media")
    photo = skimage.data.astronaut()
    frames = [np.roll(photo, 4 * shift, 1)[:224, 100:356] for shift in range(7)]
    write_video(folder / "clip.mp4", np.stack(frames), 15)
    Image.fromarray(photo).save(folder / "one.png")
    Image.fromarray(np.hstack([photo[:300, 80:380], photo[:300, 80:380, ::-1][:, ::-1]])).save(folder / "two.jpg")
    Image.fromarray(np.full((90, 120, 3), 80, np.uint8)).save(folder / "nobody.png")
    (folder / "broken.mp4").write_bytes(b"neither")
    return folder


@pytest.fixture
def run(published_checkpoint, tmp_path):
    """Run the script; returns (exit code, folder of the results)."""

    def call(*arguments):
        argv = ["--resume", str(published_checkpoint), "--output", str(tmp_path / "out"), "--detector", "mtcnn"]
        return main([*argv, *map(str, arguments)]), tmp_path / "out"

    return call


def read(folder, name):
    """The content of a prediction.json, which agrees with the schema in the documents."""
    content = json.loads((folder / name / "prediction.json").read_text())
    jsonschema.validate(content, json.loads((ROOT / "docs/prediction.schema.json").read_text()))
    return content


def test_photos_and_videos_of_a_folder(run, media, capsys):
    code, out = run("--input", media, "--n_frames", 3)
    assert code == 0
    with (out / "predictions.csv").open(newline="") as file:
        rows = {row["folder"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["broken", "clip", "nobody", "one", "two"]
    told = capsys.readouterr().out
    for name, people in {"broken": 0, "clip": 1, "nobody": 0, "one": 1, "two": 2}.items():
        prediction = read(out, name)
        assert prediction["input"] == rows[name]["input"]
        assert prediction["outcome"] == rows[name]["outcome"]
        assert len(prediction["tracks"]) == people == int(rows[name]["people"])
        assert (prediction["reason"] is None) == (people > 0)
        if people:
            assert prediction["p_fake"] == max(track["p_fake"] for track in prediction["tracks"])
            assert float(rows[name]["p_fake"]) == pytest.approx(prediction["p_fake"], rel=1e-8)
            files = {path.name for path in (out / name).iterdir()}
            named = {RECORD, "prediction.json", prediction["annotated"]}
            for track in prediction["tracks"]:
                assert FFPP.is_legal([float(node in track["state"]) for node in FFPP.nodes])
                assert ("fake" in track["state"]) == (track["outcome"] == "fake") == (track["p_fake"] >= 0.5)
                assert list(track["nodes"]) == list(FFPP.nodes) == list(track["heat_maps"])
                assert track["nodes"]["fake"] == track["p_fake"]
                assert track["p_fake"] == pytest.approx(np.mean([frame["p_fake"] for frame in track["frames"]]))
                assert track["explanation"] in told
                named |= {*track["heat_maps"].values(), *([track["timeline"]] if name == "clip" else [])}
                assert name == "clip" or track["timeline"] is None
                for picture in track["heat_maps"].values():
                    assert cv2.imread(str(out / name / picture)).shape == (317, 317, 3)
            assert files == named
    assert "unreadable" in rows["broken"]["outcome"]
    assert read(out, "nobody")["reason"] == "no face found in the picture"
    assert [frame["frame"] for frame in read(out, "clip")["tracks"][0]["frames"]] == [0, 3, 6]
    box = np.array(read(out, "one")["tracks"][0]["frames"][0]["box"])
    assert (box[:2] < [203, 100]).all()
    assert (box[2:] > [246, 143]).all()
    capture = cv2.VideoCapture(str(out / "clip" / "annotated.mp4"))
    assert (capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FRAME_WIDTH)) == (7, 256)
    assert cv2.imread(str(out / "two" / "annotated.jpg")).shape == (300, 600, 3)


@posix_only
def test_results_are_whole_when_nobody_reads_the_predictions(media, published_checkpoint, tmp_path):
    """As in `SJEDD_predict.py --json - ... | head -1`."""
    options = ["--resume", str(published_checkpoint), "--output", str(tmp_path / "out"), "--detector", "mtcnn"]
    inputs = [str(media / name) for name in ("nobody.png", "broken.mp4", "one.png")]
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "SJEDD_predict.py", "--json", "-", "--no_pictures", *options, "--input", *inputs]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 141
    assert [line.partition(": ")[0] for line in done.stderr.splitlines()] == inputs
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        assert [row["input"] for row in csv.DictReader(file)] == inputs


@posix_only
def test_the_name_of_an_input_commands_no_terminal_and_stays_in_its_line(run, tmp_path, capsys):
    name = "a\x1b[31mb\nc.png"
    Image.fromarray(np.full((90, 120, 3), 80, np.uint8)).save(tmp_path / name)
    assert run("--input", tmp_path / name)[0] == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path}/a?[31mb?c.png: No face: no face found in the picture.\n"
    assert all(line.isprintable() for line in said.err.replace("\r", "\n").split("\n"))


def test_a_video_has_the_p_fake_that_extraction_and_test_give_it(run, media, published_checkpoint, tmp_path):
    common = ["--detector", "mtcnn", "--n_frames", "4", "--workers", "1"]
    crops = tmp_path / "crops"
    shutil.copytree(media, tmp_path / "in" / "fake", ignore=shutil.ignore_patterns("*.png", "*.jpg", "broken*"))
    folders = ["--video_path", str(tmp_path / "in"), "--save_path", str(crops)]
    assert extract_faces.main(["--dataset", "videos", *folders, *common]) == 0
    (tmp_path / "list.txt").write_text("".join(f"{path} 0101011111\n" for path in crops.rglob("*.png")))
    argv = ["--dataset", "list", "--datapath", str(tmp_path / "list.txt"), "--num_workers", "0"]
    assert SJEDD_test.main([*argv, "--resume", str(published_checkpoint), "--output", str(tmp_path / "test")]) == 0
    with (tmp_path / "test" / "SJEDD_test" / "list" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    _, out = run("--input", media / "clip.mp4", "--n_frames", 4, "--no_pictures")
    track = read(out, "clip")["tracks"][0]
    assert [int(row["frame"]) for row in rows] == [frame["frame"] for frame in track["frames"]]
    assert [float(row["p_fake"]) for row in rows] == pytest.approx([f["p_fake"] for f in track["frames"]], abs=1e-5)
    assert track["p_fake"] == pytest.approx(np.mean([float(row["p_fake"]) for row in rows]), abs=1e-5)
    for node in FFPP.nodes[1:]:
        mean = np.mean([float(row[node.replace(" ", "_")]) for row in rows])
        assert track["nodes"][node] == pytest.approx(mean, abs=1e-5)
    assert {path.name for path in (out / "clip").iterdir()} == {RECORD, "prediction.json"}


def test_json_on_standard_output_is_all_there(run, media, capsys):
    code, out = run("--input", media / "one.png", media / "nobody.png", "--json", "-", "--no_pictures")
    assert code == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == [read(out, "one"), read(out, "nobody")]


def test_what_was_predicted_in_the_same_way_is_kept(run, media, tmp_path, monkeypatch):
    asked = []
    real = pipeline.predict
    monkeypatch.setattr(pipeline, "predict", lambda path, *rest: asked.append(path.name) or real(path, *rest))
    shutil.copy(media / "one.png", tmp_path / "a.png")
    shutil.copy(media / "nobody.png", tmp_path / "b.png")
    paths = ["--input", tmp_path / "a.png", tmp_path / "b.png"]
    run(*paths)
    table = (tmp_path / "out" / "predictions.csv").read_text()
    run(*paths)
    assert asked == ["a.png", "b.png"]
    assert (tmp_path / "out" / "predictions.csv").read_text() == table
    shutil.copy(media / "one.png", tmp_path / "b.png")
    run(*paths)
    assert asked == ["a.png", "b.png", "b.png"]
    _, out = run(*paths, "--band", 0.0, 1.0, "--no_pictures")
    assert asked[3:] == ["a.png", "b.png"]
    assert [read(out, name)["outcome"] for name in "ab"] == ["uncertain"] * 2
    assert {path.name for path in (out / "a").iterdir()} == {RECORD, "prediction.json"}


def test_inputs_of_one_name_get_folders_of_their_own(run, media, tmp_path):
    for folder, name in (("x", "one.png"), ("y", "nobody.png")):
        (tmp_path / folder).mkdir()
        shutil.copy(media / name, tmp_path / folder / "same.png")
    arguments = ["--no_pictures", "--input", tmp_path / "x", tmp_path / "y"]
    for _ in range(2):
        _, out = run(*arguments)
        assert read(out, "same")["tracks"]
        assert read(out, "same_2")["outcome"] == "no_face"
    run("--no_pictures", "--input", tmp_path / "y")
    assert sorted(path.name for path in out.iterdir()) == [RECORD, "predictions.csv", "same", "same_2"]


def test_calibration_decides_the_verdict(run, media, tmp_path):
    (tmp_path / "c.json").write_text('{"temperature": 1000000.0}')
    _, out = run("--input", media / "one.png", "--no_pictures", "--calibration", tmp_path / "c.json")
    prediction = read(out, "one")
    track = prediction["tracks"][0]
    assert track["p_fake_calibrated"] == pytest.approx(0.5, abs=1e-3)
    assert prediction["outcome"] == "uncertain"
    assert prediction["settings"]["band"] == [0.3, 0.7]
    assert track["nodes"]["fake"] == track["p_fake"] == prediction["p_fake"]


@pytest.mark.parametrize(
    ("threshold", "band", "told"), [(0.62, [], 1), (0.54, [], 0), (0.62, [0.6, 0.6], 0), (None, [], 0)]
)
def test_a_threshold_that_is_not_the_verdicts_cut_is_told(run, media, tmp_path, capsys, threshold, band, told):
    model = JointEmbedding(architecture("demo"), FFPP)
    save_checkpoint(tmp_path / "c.pth", model, **({"threshold": threshold} if threshold else {}))
    arguments = ["--input", media / "nobody.png", "--no_pictures", "--resume", tmp_path / "c.pth"]
    assert run(*arguments, *(["--band", *band] if band else []))[0] == 0
    said = "threshold from validation is 0.62; to use that, give --band 0.62 0.62"
    assert capsys.readouterr().err.count(said) == told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "missing.mp4"], "none of 1 inputs could be read; missing.mp4: there is no such file"),
        (["--input", "x" * 3000], "there is no such file"),
        (["--input", "x.png", "--band", "0.7", "0.3"], "LOW is above HIGH"),
        (["--input", "x.png", "--band", "0.7", "3"], "not between 0 and 1"),
        (["--input", "x.png", "--resume", "no.pth"], "checkpoint no.pth does not exist"),
        (["--input", "no.txt"], "cannot read the list no.txt"),
    ],
)
def test_bad_arguments_are_one_clear_line(run, capsys, arguments, message):
    try:
        code, _ = run(*arguments)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    error = capsys.readouterr().err.strip()
    assert message in error.splitlines()[-1]
    assert "Traceback" not in error


def test_a_missing_input_among_others_is_an_outcome(run, media, tmp_path):
    code, out = run("--no_pictures", "--input", media / "nobody.png", tmp_path / "missing.mp4", media / "broken.mp4")
    assert code == 0
    assert read(out, "missing")["outcome"] == read(out, "broken")["outcome"] == "unreadable"
    assert read(out, "missing")["reason"] == "there is no such file"
    assert "FFmpeg" in read(out, "broken")["reason"]


def test_a_stop_keeps_what_is_done(run, media, monkeypatch, capsys):
    real = pipeline.predict

    def stopped(path, *rest):
        if path.name == "one.png":
            raise KeyboardInterrupt
        return real(path, *rest)

    monkeypatch.setattr(pipeline, "predict", stopped)
    code, out = run("--no_pictures", "--input", media / "nobody.png", media / "one.png")
    assert code == 130
    assert "nobody" in (out / "predictions.csv").read_text()
    assert not (out / "one").exists()
