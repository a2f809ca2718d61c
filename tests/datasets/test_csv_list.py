"""CSV lists: videos told apart, images listed again, paths of Windows. Reading and errors: test_test_sets.py."""

from pathlib import Path

import pytest

from datasets.readers.csv_list import read_csv_list
from utils.cli import UserError


@pytest.fixture
def read(tmp_path):
    """Write a list of rows below a header, and the images it names; read it."""

    def call(*rows, header="path,label,video", images=None):
        for name in images or [row.split(",")[0] for row in rows]:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "l.csv").write_text("\n".join([header, *rows]) + "\n")
        return read_csv_list(tmp_path / "l.csv")

    return call


def test_folders_tell_videos_of_one_name_apart_where_no_method_does(read):
    rows = [f"{tree}/000_003/{i}.png,1,000_003" for tree in ("Deepfakes", "Face2Face") for i in range(2)]
    data = read(*rows, "real/000_003/0.png,0,000_003", "real/000/0.png,0,000")
    names = [record.video for record in data.records]
    assert names == ["Deepfakes/000_003"] * 2 + ["Face2Face/000_003"] * 2 + ["real/000_003", "000"]
    assert data.videos_listed == 4
    assert {record.video for record in read("v/0/face.png,1,v", "v/1/face.png,1,v").records} == {"v"}


def test_labels_may_be_words(read):
    assert [record.label for record in read("0.png,Real,", "1.png,fake,", "2.png,1,").records] == [0, 1, 1]


def test_an_image_that_is_listed_again_is_dropped_and_counted(read):
    data = read("a/0.png,1,a", "a/1.png,1,a", "./a/0.png,1,a", "b/0.png,0,", "b/0.png,0,")
    assert [Path(record.path).name for record in data.records] == ["0.png", "1.png", "0.png"]
    assert [(drop.video[-7:], drop.path[-7:], drop.label, drop.reason) for drop in data.dropped] == [
        ("a", "a/0.png", 1, "duplicate"),
        ("b/0.png", "b/0.png", 0, "duplicate"),
    ]
    assert data.videos_listed == 2


@pytest.mark.parametrize(
    ("again", "says"),
    [
        ("a/0.png,0,a,X", "label 0 here and 1 above"),
        ("a/0.png,1,b,X", "video b here and a above"),
        ("a/../a/0.png,1,a,", "method none here and X above"),
    ],
)
def test_an_image_with_two_meanings_is_refused(read, again, says):
    with pytest.raises(UserError, match=rf"l\.csv:3: image .*0\.png has {says} \(line 2\); keep one"):
        read("a/0.png,1,a,X", again, header="path,label,video,method", images=["a/0.png"])


def test_paths_of_windows_are_found(read):
    data = read("a\\0.png,1,v", "b/0.png,0,w", "a\\gone.png,1,v", images=["a/0.png", "b/0.png"])
    assert [Path(record.path).is_file() for record in data.records] == [True, True, False]
    assert [record.frame for record in data.records] == ["0", "0", "gone"]
    odd = read("c\\0.png,1,v", "b/0.png,0,w")
    assert [record.path[-7:] for record in odd.records] == ["c\\0.png", "b/0.png"], "a name may hold a backslash"


def test_a_column_split_that_is_not_used_is_told(read):
    header = "path,label,split"
    data = read("0.png,real,train", "1.png,fake,test", ",,", header=header, images=["0.png", "1.png"])
    assert len(data.records) == 2
    assert list(data.notes) == ["the rows of all splits are read (test, train): the column split is not used"]
    assert list(read("0.png,real,test", "1.png,fake,test", header=header).notes) == []


def test_what_is_wrong_with_a_row_is_shown(read):
    with pytest.raises(UserError, match=r"l.csv:3: expected .* got the path '1.png' and the label 'spoof'"):
        read("0.png,0,", "1.png,spoof,")
    with pytest.raises(UserError, match=r"separated by commas, got 'path;label'; rename the columns"):
        read("0.png;0", header="path;label")
