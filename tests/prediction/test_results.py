import csv
import json
from pathlib import Path

from datasets.csv_cells import plain_cell
from prediction.results import (
    RESULT_FILES,
    SCHEMA,
    clear,
    file_settings,
    folders_for,
    is_done,
    row_of,
    stamp,
    write_table,
)
from utils.own_files import recorded


def names(paths, output):
    return [folder.name for folder, _ in folders_for([Path(path) for path in paths], output).values()]


def test_folders_have_the_inputs_stems_and_never_a_name_twice(tmp_path):
    paths = ["a/x.mp4", "a/x.png", "b/x.mp4", "x_2.mp4", "predictions.csv.mp4", "..", "é" * 150, "\udcff.png"]
    expected = ["x", "x_2", "x_3", "x_2_2", "predictions.csv_2", "input", "é" * 100, "\\udcff"]
    assert names(paths, tmp_path) == expected


def test_earlier_predictions_keep_their_folders(tmp_path):
    (tmp_path / "x").mkdir()
    with recorded(tmp_path / "x", RESULT_FILES):
        (tmp_path / "x" / "prediction.json").write_text(json.dumps({"input": "b/x.mp4"}))
    assert names(["a/x.mp4", "b/x.mp4"], tmp_path) == ["x_2", "x"]
    folders = folders_for([Path("b/x.mp4")], tmp_path)
    assert folders == {Path("b/x.mp4"): (tmp_path / "x", {"input": "b/x.mp4"})}


def test_a_relative_name_of_another_folder_is_another_input(tmp_path, monkeypatch):
    for name in ("one", "two", "out"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    path = Path("x.mp4")
    assert names(["x.mp4"], tmp_path / "out") == ["x"]
    (tmp_path / "out" / "x").mkdir()
    with recorded(tmp_path / "out" / "x", RESULT_FILES):
        content = {"input": "x.mp4", "settings": file_settings(path)}
        (tmp_path / "out" / "x" / "prediction.json").write_text(json.dumps(content))
    assert names(["x.mp4"], tmp_path / "out") == names([path.absolute()], tmp_path / "out") == ["x"]
    monkeypatch.chdir(tmp_path / "two")
    assert names(["x.mp4"], tmp_path / "out") == ["x_2"]


def test_what_the_user_has_is_no_folder_of_an_input(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "prediction.json").write_text("no JSON, and mine")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    assert names(["mine.png", "file.png", "link.png", "empty.png"], tmp_path) == ["mine_2", "file_2", "link_2", "empty"]
    (tmp_path / "ours").mkdir()
    with recorded(tmp_path / "ours", RESULT_FILES):
        (tmp_path / "ours" / "prediction.json").write_text(json.dumps({"input": "ours.png"}))
    (tmp_path / "ours" / "heat_wave.jpg").touch()
    assert names(["ours.png"], tmp_path) == ["ours"], "it is in nobody's way"
    (tmp_path / "ours" / "annotated.jpg").touch()
    assert names(["ours.png"], tmp_path) == ["ours_2"]


def test_done_means_the_same_settings_and_readable():
    settings = {"band": (0.5, 0.5), "file": [1, 2]}
    known = {"schema": SCHEMA, "settings": {"band": [0.5, 0.5], "file": [1, 2]}, "outcome": "real"}
    assert is_done(known, settings)
    assert not is_done(known, settings | {"file": [1, 3]})
    assert not is_done(known | {"outcome": "unreadable"}, settings)
    assert not is_done(known | {"schema": SCHEMA - 1}, settings)
    assert not is_done(None, settings)


def test_clearing_leaves_foreign_files(tmp_path):
    for name in (
        "prediction.json",
        "annotated.mp4",
        "timeline_1.png",
        "heat_1_eye.jpg",
        ".sjedd-tmp-a.mp4",
        "notes.txt",
    ):
        (tmp_path / name).touch()
    clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_rows_tell_of_the_person_that_decided():
    tracks = [{"p_fake": p, "nodes": {"fake": p, "a b": p / 2}, "frames": [1], "explanation": str(p)} for p in (0, 1)]
    prediction = {"input": "i", "outcome": "fake", "p_fake": 1, "decided_by": 2, "tracks": tracks}
    prediction["reason"] = None
    row = row_of(prediction, "f", ("fake", "a b"))
    assert (row["explanation"], row["people"], row["p_fake"], row["a_b"]) == ("1", 2, "1", "0.5")
    row = row_of(prediction | {"tracks": [], "p_fake": None, "reason": "why"}, "f", ("fake", "a b"))
    assert (row["p_fake"], row["a_b"], row["people"], row["reason"]) == ("", "", 0, "why")


def test_a_spreadsheet_runs_no_text_of_the_table(tmp_path):
    nobody = {"tracks": [], "p_fake": None, "decided_by": None, "outcome": "unreadable"}
    names = ["=HYPERLINK(1)/+a.png", "a.png", "-1.5", "'=b.png"]
    rows = [row_of(nobody | {"input": name, "reason": name}, name, ("fake", "a b")) for name in names]
    write_table(tmp_path / "predictions.csv", rows)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    for column in ("input", "folder", "reason"):
        cells = [row[column] for row in written]
        assert cells == ["'=HYPERLINK(1)/+a.png", "a.png", "'-1.5", "''=b.png"]
        assert list(map(plain_cell, cells)) == names
    assert {row["explanation"] for row in written} == {""}


def test_a_stamp_tells_files_apart(tmp_path):
    (tmp_path / "a").write_text("1")
    assert stamp(tmp_path / "a")[0] == 1
    assert stamp(tmp_path / "b") is None
