"""Every tree that a checkpoint may hold works in every script that shows its nodes."""

import csv
import json

import pytest

import SJEDD_predict
import SJEDD_report
import SJEDD_test
from datasets.csv_cells import RESULT_COLUMNS
from models.checkpoint import load_model, save_checkpoint
from models.joint_embedding import JointEmbedding
from models.label_tree import FFPP, FFSC, RESERVED, LabelTree
from prediction.results import row_of
from prediction.web.rendering import result_html
from tests.scripts.test_app import make_media

REGIONS = tuple(f"r{number}" for number in range(18))
TREES = {
    "root": FFPP.root_only,
    "no global": FFSC.without["global"],
    "no local": FFPP.without["local"],
    "another root alone": LabelTree("mine", ("gefälscht",), {}),
    "root's edge last": LabelTree("x", ("fake", "a", "b"), {"a": ("b",), "fake": ("a",)}),
    "twenty nodes": LabelTree("large", ("fake", "all", *REGIONS), {"fake": ("all",), "all": REGIONS}),
    "odd names": LabelTree(
        "a-b c",
        ("unecht", "眼 a-1", "n" * 60, "1"),
        {"unecht": ("眼 a-1",), "眼 a-1": ("n" * 60, "1")},
        wordings={"root": "{} <b>&\n{", "1": "a" * 900},
    ),
}


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    files = make_media(tmp_path_factory.mktemp("media"))
    return [files["one.png"], files["clip.mp4"]]


@pytest.fixture
def checkpoint(published_checkpoint, tmp_path):
    """Writes the checkpoint of a tree."""

    def write(tree):
        published = load_model(published_checkpoint)
        model = JointEmbedding(published.architecture, tree)
        model.clip.load_state_dict(published.clip.state_dict())
        save_checkpoint(tmp_path / "a.pth", model)
        return tmp_path / "a.pth"

    return write


def test_no_node_is_called_like_a_column():
    prediction = {"input": "", "outcome": "", "p_fake": None, "reason": None, "tracks": []}
    assert {*row_of(prediction, "", ["fake"]), *RESULT_COLUMNS, "p_fake_calibrated"} == RESERVED


@pytest.mark.parametrize(
    "name", [name if name == "root" else pytest.param(name, marks=pytest.mark.slow) for name in TREES]
)
def test_predictions_tests_reports_and_pages(name, media, checkpoint, golden_crops, tmp_path):
    tree, out = TREES[name], tmp_path / "out"
    common = ["--resume", str(checkpoint(tree))]
    inputs = list(map(str, media if name == "root" else media[:1]))
    argv = [*common, "--detector", "mtcnn", "--n_frames", "2", "--input", *inputs, "--output", str(out)]
    assert SJEDD_predict.main(argv) == 0
    for path in inputs:
        folder = out / path.rpartition("/")[2].partition(".")[0]
        prediction = json.loads((folder / "prediction.json").read_text())
        (track,) = prediction["tracks"]
        assert tuple(track["nodes"]) == tree.nodes and set(track["state"]) <= set(tree.nodes)
        assert len({(folder / picture).name for picture in track["heat_maps"].values()}) == len(tree.nodes)
        assert all((folder / picture).is_file() for picture in track["heat_maps"].values())
        page = result_html(prediction, folder, tree)
        assert page.count('class="node"') + page.count('class="node on"') == len(tree.nodes)
    argv = [*common, "--dataset", "CDF", "--datapath", str(golden_crops), "--n_frames", "1", "--num_workers", "0"]
    assert SJEDD_test.main([*argv, "--output", str(out)]) == 0
    table = out / "SJEDD_test" / "CDF" / "predictions.csv"
    with table.open(newline="", encoding="utf-8") as file:
        assert next(csv.reader(file))[9:] == [node.replace(" ", "_") for node in tree.nodes[1:]]
    assert SJEDD_report.main([str(table), "--output", str(tmp_path / "report")]) == 0
