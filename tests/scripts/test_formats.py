"""The same samples through a txt list, a CSV file, a JSON file and folders: the same scores."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import SJEDD_test
from datasets.test_sets import TEST_SETS, ReadOptions
from models.label_tree import FFPP
from tests.conftest import DATA

CROPS = sorted((DATA / "cdf_tiny").rglob("*.png"))
LABELS = (["0", "0.0", "Real", "FALSE"], ["1", "1.0", "fake", "True"])


@st.composite
def sample_sets(draw):
    """[(class folder/video/frame, crop, label as written)] in the order of a list, and how names are written there."""
    samples = []
    for label, folder in enumerate(("real", "fake")):
        for video in range(draw(st.integers(1, 2))):
            for number in draw(st.lists(st.integers(0, 120), min_size=1, max_size=4, unique=True)):
                text = draw(st.sampled_from(LABELS[label]))
                samples.append((f"{folder}/v {video}/{number}.png", draw(st.sampled_from(CROPS)), text))
    again = draw(st.lists(st.sampled_from(samples), max_size=2))
    prefix = draw(st.sampled_from(["", "ROOT/", "/nowhere/other/", "C:\\data\\"]))
    return draw(st.permutations(samples + again)), prefix, draw(st.booleans()), draw(st.sampled_from(["\n", "\r\n"]))


def write_formats(root, samples, prefix, windows, ending):
    """The samples as images in folders below ``root`` and in lists beside it: format -> its --datapath."""
    prefix = prefix.replace("ROOT", str(root))
    rows, bench = [], {"X_real": {"test": {}}, "X_fake": {"test": {}}}
    for name, crop, label in samples:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if not (root / name).exists():
            shutil.copy(crop, root / name)
        written = (prefix + name).replace("/", "\\") if windows else prefix + name
        folder, video, _ = name.split("/")
        rows.append((written, label, f"{folder} {video}"))
        bench[f"X_{folder}"]["test"].setdefault(video, {"frames": []})["frames"].append(written)
    texts = {
        "list": [f"{path} some {label}" for path, label, _ in rows],
        "csv": ["path,label,video", *map(",".join, rows)],
        "json": [json.dumps({"X": bench})],
    }
    for name, lines in texts.items():
        (root.parent / name).write_bytes(ending.join(["\ufeff" + lines[0], *lines[1:]]).encode())
    return {name: root.parent / name for name in texts} | {"folder": root}


SETTINGS = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
FRAMES = st.sampled_from([1, 3, 64])


def repeats(samples):
    return len(samples) - len({name for name, *_ in samples})


@settings(max_examples=20, **SETTINGS)
@given(drawn=sample_sets(), n_frames=FRAMES)
def test_the_same_samples_are_read_in_every_format(drawn, n_frames, tmp_path_factory):
    root = tmp_path_factory.mktemp("formats") / "root"
    read = {}
    for name, place in write_formats(root, *drawn).items():
        data = TEST_SETS[name].read(ReadOptions(root, FFPP, place, n_frames=n_frames))
        images = [(str(Path(record.path).resolve()), record.label) for record in data.records]
        videos: dict[str, list[str]] = {}
        for record in data.records:
            videos.setdefault(record.video, []).append(record.frame)
        read[name] = (sorted(images), sorted(videos.values()), data.videos_listed)
        assert [drop.reason for drop in data.dropped] == ["duplicate"] * (name != "folder" and repeats(drawn[0]))
    assert read["list"] == read["csv"] == read["json"] == read["folder"]


@settings(max_examples=2, **SETTINGS)
@given(drawn=sample_sets(), n_frames=FRAMES)
def test_the_same_samples_have_the_same_scores_in_every_format(
    drawn, n_frames, published_checkpoint, tmp_path_factory, capsys
):
    folder = tmp_path_factory.mktemp("formats")
    root, out = folder / "root", folder / "out"
    places = write_formats(root, *drawn)
    results = {}
    for name, place in places.items():
        arguments = ["--dataset", name, "--datapath", place, "--data_root", root, "--output", out, "--num_workers", 0]
        arguments += ["--resume", published_checkpoint, "--n_frames", n_frames]
        assert SJEDD_test.main([str(argument) for argument in arguments]) == 0, capsys.readouterr().err
        with (out / "SJEDD_test" / name / "predictions.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        metrics = json.loads((out / "SJEDD_test" / name / "metrics.json").read_text())
        videos: dict[str, set[str]] = {}
        scores = {}
        for row in rows:
            path = str(Path(row.pop("path")).resolve())
            videos.setdefault(row.pop("video"), set()).add(path)
            text = (row.pop("frame"), row.pop("label"))
            known = {row.pop(column) for column in ("dataset", "method", "code")}
            assert name in known
            scores[path] = (text, [float(value) for value in row.values() if value])
        assert len(scores) == len(rows), "an image counts once"
        figures = {
            key: metrics[key] for key in ("videos", "frames", "coverage", "video_auc", "frame_auc", "image_level")
        }
        listed_again = metrics["dropped_by_reason"].get("duplicate", 0)
        assert listed_again == (0 if name == "folder" else repeats(drawn[0]))
        results[name] = (sorted(map(sorted, videos.values())), figures, scores)
    expected = results.pop("folder")
    for name, (videos, figures, scores) in results.items():
        assert (videos, figures, scores.keys()) == (expected[0], pytest.approx(expected[1]), expected[2].keys()), name
        for path, (text, values) in scores.items():
            assert text == expected[2][path][0]
            assert values == pytest.approx(expected[2][path][1], abs=1e-5)
