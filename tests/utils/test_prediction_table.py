"""Reading predictions: our files, other systems' files, and what is refused with its line."""

import json

import numpy as np
import pytest

from utils.cli import UserError
from utils.prediction_table import Columns, folder_of, read_predictions

OURS = (
    "dataset,video,frame,path,label,method,code,p_fake,logit_fake,identity,lip\n"
    "X,real/0,a,r/0/a.png,0,real,100,0.2,-1.4,0.1,0.3\n"
    "X,fake/0,a,f/0/a.png,1,swap,011,0.9,2.2,0.8,0.7\n"
    "X,fake/0,b,f/0/b.png,1,swap,011,0.7,0.8,0.6,0.9\n"
)


@pytest.fixture
def write(tmp_path):
    def call(text, dropped=None):
        (tmp_path / "p.csv").write_text(text, encoding="utf-8")
        if dropped is not None:
            (tmp_path / "metrics.json").write_text(json.dumps({"dropped": dropped}))
        return str(tmp_path / "p.csv")

    return call


def test_our_file_with_its_metrics(write):
    drops = [
        {"video": "fake/1", "path": "", "label": 1, "reason": "no_crops"},
        {"video": "real/2", "path": "r/2/a.png", "label": 0, "reason": "damaged"},
        {"video": "real/2", "path": "r/2/b.png", "label": 0, "reason": "damaged"},
        {"video": "fake/0", "path": "f/0/c.png", "label": 1, "reason": "damaged"},
    ]
    p = read_predictions(write(OURS, drops))
    assert p.labels.tolist() == [0, 1, 1]
    assert p.video_ids == [("X", "real/0"), ("X", "fake/0")]
    assert p.video_labels.tolist() == [0, 1]
    assert p.video_scores == pytest.approx([0.2, 0.8])
    assert p.ranks.tolist() == p.logits.tolist() == [-1.4, 2.2, 0.8]
    assert p.nodes["lip"].tolist() == [0.3, 0.7, 0.9]
    assert p.failed == {"fake/1": 1, "real/2": 0}, "a video that lost only some images has not failed"
    assert p.notes == []


def test_other_systems_columns_and_words(write):
    text = "\ufeffimg,clip,truth,logit\nx/1.png,v1,REAL,-3\nx/2.png,v1,real,-2\n\ny/1.png,v2,Fake,4\n"
    p = read_predictions(write(text), Columns("logit", "truth", "img", "clip"))
    assert p.labels.tolist() == [0, 0, 1]
    assert p.video_ids == [("", "v1"), ("", "v2")]
    assert not p.probabilities
    assert p.logits is None
    assert any("outside [0, 1]" in note for note in p.notes)
    assert any("metrics.json" in note for note in p.notes)


def test_video_is_the_folder_or_the_image_of_image_sets(write):
    folders = (
        "path,label,p_fake\na/0/x.png,0,0.1\na/1/x.png,0,0.1\nb\\0\\x.png,1,0.9\nb\\0\\y.png,1,0.9\nb/1/x.png,1,1\n"
    )
    assert [video for _, video in read_predictions(write(folders)).video_ids] == ["a/0", "a/1", "b/0", "b/1"]
    by_class = "path,label,p_fake\nreal/x.png,0,0.1\nreal/y.png,0,0.1\nfake/x.png,1,0.9\nfake/y.png,1,0.9\n"
    assert len(read_predictions(write(by_class)).video_ids) == 4
    mixed = "path,label,p_fake\na/0.png,0,0.1\na/1.png,1,0.9\nb/0.png,0,0.1\nb/1.png,1,0.9\n"
    assert len(read_predictions(write(mixed)).video_ids) == 4


def test_a_video_of_both_labels_is_two_videos_and_said(write):
    p = read_predictions(write("video,label,p_fake\nv,0,0.1\nv,1,0.9\n"))
    assert p.video_labels.tolist() == [0, 1]
    assert any("both labels" in note for note in p.notes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ":1: the file is empty"),
        ("video,label,p_fake\n", ":1: no rows"),
        ("video,label\nv,1\n", ":1: no column p_fake; name it with --score_column (the file has: video, label)"),
        ("video,p_fake\nv,1\n", ":1: no column label; name it with --label_column"),
        ("label,p_fake\n1,1\n", ":1: neither a column path nor video"),
        ("video,label,p_fake\nv,1,0.5\nv,1,high\n", ":3: p_fake is 'high', not a finite number"),
        ("video,label,p_fake\nv,1,nan\n", ":2: p_fake is 'nan'"),
        ("video,label,p_fake\nv,1,inf\n", ":2: p_fake is 'inf'"),
        ("video,label,p_fake\nv,1,\n", ":2: p_fake is ''"),
        ("video,label,p_fake\nv,1,0.5\n\nv,2,0.5\n", ":4: label is '2'; use 0 or real, 1 or fake"),
        ("video,label,p_fake\nv,1\n", ":2: 2 fields, the header has 3"),
        ("video,label,p_fake\n,1,0.5\n", ":2: neither a path nor a video"),
        ("video,label,p_fake\n" + "x" * 200_000 + ",1,0.5\n", ":2: not CSV (field larger"),
        (OURS.replace(",0.7,0.8,", ",0.7,x,"), ":4: logit_fake is 'x'"),
        (OURS.replace("0.9\n", "?\n"), ":4: lip is '?'"),
    ],
)
def test_bad_files_are_one_line_with_the_place(write, text, says):
    path = write(text)
    with pytest.raises(UserError) as error:
        read_predictions(path)
    assert str(error.value).startswith(path + says)


def test_missing_files_and_foreign_metrics(write, tmp_path):
    for name in ("none.csv", "nul\0.csv"):
        with pytest.raises(UserError, match="cannot read"):
            read_predictions(str(tmp_path / name))
    with pytest.raises(UserError, match="no list `dropped`"):
        read_predictions(write(OURS, [{"video": "x"}]))


def test_nodes_are_left_out_where_the_codes_do_not_fit(write):
    p = read_predictions(write(OURS.replace("011", "01")))
    assert p.nodes == {}
    assert any("codes do not fit" in note for note in p.notes)


def test_the_calibrated_column_is_no_node_but_may_be_the_score(write):
    lines = OURS.splitlines()
    path = write("\n".join([lines[0] + ",p_fake_calibrated", *(line + ",0.4" for line in lines[1:])]) + "\n")
    assert list(read_predictions(path).nodes) == ["identity", "lip"]
    calibrated = read_predictions(path, Columns("p_fake_calibrated"))
    assert calibrated.scores.tolist() == calibrated.ranks.tolist() == [0.4, 0.4, 0.4]


def test_node_names_have_spaces_and_folders_take_both_slashes(write):
    p = read_predictions(write(OURS.replace("identity", "physical_inconsistency")))
    assert list(p.nodes) == ["physical inconsistency", "lip"]
    assert [folder_of(path) for path in ("a/b/c.png", "a\\b\\c.png", "c.png")] == ["a/b", "a/b", ""]
    assert isinstance(p.scores, np.ndarray)
