"""Reading predictions: our files, other systems' files, and what is refused with its line."""

import json

import numpy as np
import pytest

from datasets.video_ids import folder_of
from evaluation.metrics import dense_ranks
from evaluation.predictions_reader import Columns, read_predictions
from utils.cli import UserError

OURS = (
    "dataset,video,frame,path,label,method,code,p_fake,logit_fake,identity,lip\n"
    "X,real/0,a,r/0/a.png,0,real,100,0.2,-1.4,0.1,0.3\n"
    "X,fake/0,a,f/0/a.png,1,swap,011,0.9,2.2,0.8,0.7\n"
    "X,fake/0,b,f/0/b.png,1,swap,011,0.7,0.8,0.6,0.9\n"
)
COUNTS = {"frames": 3, "videos": 2, "dropped": []}


@pytest.fixture
def write(tmp_path):
    def call(text, metrics=None):
        (tmp_path / "p.csv").write_text(text, encoding="utf-8")
        if metrics is not None:
            (tmp_path / "metrics.json").write_text(metrics if isinstance(metrics, str) else json.dumps(metrics))
        return str(tmp_path / "p.csv")

    return call


def test_our_file_with_its_metrics(write):
    drops = [
        {"video": "fake/1", "path": "", "label": 1, "reason": "no_crops"},
        {"video": "real/2", "path": "r/2/a.png", "label": 0, "reason": "damaged"},
        {"video": "real/2", "path": "r/2/b.png", "label": 0, "reason": "damaged"},
        {"video": "fake/0", "path": "f/0/c.png", "label": 1, "reason": "damaged"},
    ]
    p = read_predictions(write(OURS, COUNTS | {"dropped": drops, "threshold": 0.3, "checkpoint": "out/best.pth"}))
    assert p.labels.tolist() == [0, 1, 1]
    assert p.video_ids == [("X", "real/0"), ("X", "fake/0")]
    assert p.video_labels.tolist() == [0, 1]
    assert p.video_scores == pytest.approx([0.2, 0.8])
    assert p.ranks.tolist() == p.logits.tolist() == [-1.4, 2.2, 0.8]
    assert p.nodes["lip"].tolist() == [0.3, 0.7, 0.9]
    assert p.failed == {"fake/1": 1, "real/2": 0}, "a video that lost only some images has not failed"
    assert (p.threshold, p.checkpoint) == (0.3, "out/best.pth")
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
        ("path,label,p_fake,p_fake\na,1,0.5,0.1\n", ":1: 2 columns are named p_fake; keep one of them"),
        (OURS.replace("identity,lip", "lip,lip"), ":1: 2 columns are named lip"),
        ("video;label;p_fake\nv;1;0,5\n", ":1: the columns are separated by ;: save it with commas"),
        ('"video"\t"label"\t"p_fake"\nv\t1\t.5\n', ":1: the columns are separated by tabs: save it with commas"),
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


def test_a_repeated_column_that_is_not_used_does_no_harm(write):
    path = write("video,label,label,p_fake,y,z,z\nv,x,x,0.5,1,,\nw,x,x,0.1,0,,\n")
    assert read_predictions(path, Columns(label="y")).labels.tolist() == [1, 0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named(tmp_path, encoding):
    path = tmp_path / "p.csv"
    path.write_text("video,label,p_fake\r\nv,1,0.5\r\n", encoding=encoding)
    with pytest.raises(UserError, match=r"p\.csv:1: no UTF-8 text \(UTF-16, .*save it as CSV in UTF-8"):
        read_predictions(str(path))


def test_missing_files(tmp_path):
    for name in ("none.csv", "nul\0.csv"):
        with pytest.raises(UserError, match="cannot read"):
            read_predictions(str(tmp_path / name))


@pytest.mark.parametrize(
    ("metrics", "score", "why"),
    [
        (COUNTS | {"frames": 4}, "p_fake", "it counts 4 frames, not 3"),
        (COUNTS | {"videos": 9, "frames": 9}, "p_fake", "it counts 9 frames, not 3 and 9 videos, not 2"),
        ({"dropped": []}, "p_fake", "it counts no frames, not 3 and no videos, not 2"),
        (COUNTS, "lip", "it is about p_fake, the scores are lip"),
        ("{", "p_fake", "metrics.json is not JSON"),
        ("[]", "p_fake", "it holds no metrics"),
    ],
)
def test_metrics_of_another_test_are_not_used_and_one_note_says_why(write, metrics, score, why):
    p = read_predictions(write(OURS, metrics), Columns(score))
    assert p.dropped is None and p.threshold is None and p.failed == {}
    (note,) = [note for note in p.notes if "metrics.json" in note]
    assert why in note and "no metrics.json is used" in note


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"dropped": [{"video": "x"}]}, "no list `dropped`"),
        ({"dropped": None}, "no list `dropped`"),
        ({"threshold": 1.5}, r"threshold 1\.5, not a number in \[0, 1\]"),
        ({"threshold": "0.5"}, "threshold '0.5', not a number"),
        ({"threshold": True}, "threshold True, not a number"),
        ({"checkpoint": 3}, "checkpoint 3, not a path"),
    ],
)
def test_damaged_metrics_of_this_test_are_refused(write, damage, says):
    with pytest.raises(UserError, match=says):
        read_predictions(write(OURS, COUNTS | damage))


def test_no_threshold_from_validation(write):
    assert read_predictions(write(OURS, COUNTS | {"threshold": None})).threshold is None


FOUR = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")


def names(p):
    return [video for _, video in p.video_ids]


def note_of(p, word):
    return [note for note in p.notes if word in note]


def test_a_name_under_several_methods_is_several_videos(write):
    rows = "".join(f"000_003,{i},1,0.{k}{i},{m}\n" for k, m in enumerate(FOUR) for i in range(2))
    text = "video,frame,label,p_fake,method\n" + rows + "000,0,0,0.5,real\n"
    p = read_predictions(write(text))
    assert names(p) == [f"{method}/000_003" for method in FOUR] + ["000"]
    assert p.video_scores == pytest.approx([0.005, 0.105, 0.205, 0.305, 0.5])
    assert note_of(p, "under several methods") == [
        "video names under several methods: 1; each <method>/<video> is a video"
    ]
    assert not note_of(p, "repeat")


def test_a_name_in_several_trees_is_several_videos_where_no_method_tells(write):
    place = "/x/manipulated_sequences/{}/c23/faces/000_003/{:04d}.png,000_003,1,0.5\n"
    rows = "".join(place.format(method, i) for method in FOUR for i in range(2))
    p = read_predictions(write("path,video,label,p_fake\n" + rows + "/x/real/000/0000.png,000,0,0.5\n"))
    assert names(p) == [f"{method}/000_003" for method in FOUR] + ["000"]
    assert note_of(p, "in several folders") == ["video names in several folders: 1; each <folder>/<video> is a video"]
    windows = "path,video,label,p_fake\nA\\v\\0.png,v,1,0.5\nB\\v\\0.png,v,1,0.5\nC\\w\\0.png,w,0,0.5\n"
    assert names(read_predictions(write(windows))) == ["A/v", "B/v", "w"]
    of_videos = "path,video,label,p_fake\nA/c/v.mp4,v,1,0.5\nB/c/v.mp4,v,1,0.5\nC/w.mp4,w,0,0.5\n"
    assert names(read_predictions(write(of_videos))) == ["A/v", "B/v", "w"]


@pytest.mark.parametrize(
    ("paths", "unclear"),
    [
        (("v/0.png", "v/1.png"), False),
        (("./d/v/0.png", "d//v/1.png"), False),
        (("d/v/0/face.png", "d/v/1/face.png"), False),
        (("d/v/v/face.png", "d/v/w/face.png"), False),
        (("d/v_0/face.png", "d/v_1/face.png"), True),
        (("0/v.png", "1/v.png"), True),
    ],
)
def test_folders_of_frames_do_not_separate_a_video(write, paths, unclear):
    rows = "".join(f"{path},v,1,0.5\n" for path in paths)
    p = read_predictions(write("path,video,label,p_fake\n" + rows + "d/r/0.png,r,0,0.5\n"))
    assert names(p) == ["v", "r"]
    assert bool(note_of(p, "rows of several folders: 1")) == unclear


def test_a_method_alone_or_another_data_set_separates_nothing(write):
    rows = "X,a/v/0.png,v,1,0.5,swap\nX,b/v/0.png,v,1,0.5,swap\nY,c/v/0.png,v,0,0.5,real\n"
    p = read_predictions(write("dataset,path,video,label,p_fake,method\n" + rows))
    assert p.video_ids == [("X", "v"), ("Y", "v")]
    assert note_of(p, "several folders") == [
        "videos with rows of several folders: 1; if they are more videos, name them apart"
    ]
    assert note_of(p, "data sets") == ["videos of 2 data sets (X 1, Y 1): one AUC over all of them mixes data sets"]


def test_rows_of_one_image_are_counted(write):
    rows = "a/0.png,a,0,0,0.1\na/0.png,a,0,0,0.2\na/0.png,a,1,0,0.3\nb/0.png,b,0,1,0.4\n"
    p = read_predictions(write("path,video,frame,label,p_fake\n" + rows))
    assert note_of(p, "repeat the image of another row: 2 (")
    assert p.video_scores == pytest.approx([0.2, 0.4])
    p = read_predictions(write("video,frame,label,p_fake\na,0,0,0.1\na,0,0,0.2\na,1,0,0.3\nb,0,1,0.4\n"))
    assert note_of(p, "another row: 1 (")
    assert not note_of(read_predictions(write("video,label,p_fake\na,0,0.1\na,0,0.1\nb,1,0.4\n")), "repeat")


@pytest.mark.parametrize("size", [1e20, 1e4, 3.0, 1e-4])
def test_means_of_large_and_small_scores(write, size):
    scores = [-size, -size, -size, size, size, size / 2, -size / 2]
    rows = "".join(f"{video},{int(video > 'b')},{score!r}\n" for video, score in zip("aabccdd", scores, strict=True))
    p = read_predictions(write("video,label,p_fake\n" + rows))
    assert p.video_scores.tolist() == pytest.approx([-size, -size, size, 0.0], rel=1e-11, abs=0)
    assert p.video_scores[0] == p.video_scores[1], "videos of one score tie"


def test_dense_ranks_keep_order_and_ties():
    assert dense_ranks(np.array([1e308, -1e308, 0.1, 1e308, -np.inf])).tolist() == [3, 1, 2, 3, 0]


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
