import pytest

from datasets.video_ids import differing_parts, separate_videos


def ids(*rows):
    """rows: (video, method, path)."""
    return separate_videos(*zip(*rows, strict=True), [""] * len(rows))[0]


def test_ids_that_are_unique_stay_as_they_are():
    rows = [(f"{method}/{video}", method, f"faces/{method}/{video}/{i}.png")
            for method in ("real", "A", "B") for video in ("0", "1") for i in range(2)]  # fmt: skip
    assert ids(*rows) == [video for video, _, _ in rows]
    again = ids(*((video.split("/")[1], "", path) for video, _, path in rows))
    assert again == [video for video, _, _ in rows]
    assert ids(*((video, "", path) for video, path in zip(again, [row[2] for row in rows], strict=True))) == again


def test_methods_come_before_folders_and_rows_without_one_keep_the_name():
    rows = [("v", "A", "x/v/0.png"), ("v", "B", "y/v/0.png"), ("v", "", "z/v/0.png"), ("w", "", "x/w/0.png")]
    assert ids(*rows) == ["A/v", "B/v", "v", "w"]


@pytest.mark.parametrize("name", ["v", "v.mp4", "a/v"])
def test_a_name_may_have_folders_or_an_ending(name):
    rows = [(name, "", f"{tree}/a/v/0.png") for tree in ("A", "B")]
    assert ids(*rows) == [f"A/{name}", f"B/{name}"]


def test_what_differs_of_paths():
    assert differing_parts(["r/a/s", "r/b/s"]) == {"r/a/s": "a", "r/b/s": "b"}
    assert differing_parts(["r", "r/b"]) == {"r": "", "r/b": "b"}
    assert differing_parts(["x/y", "x/x/y"]) == {"x/y": "", "x/x/y": "x"}
    assert differing_parts([]) == {}
