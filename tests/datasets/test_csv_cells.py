"""Texts that a spreadsheet would run: written safely, and read back exactly by our readers."""

import csv
import io

import numpy as np
import pytest

from datasets.csv_cells import RESULT_COLUMNS, is_ours, plain_cell, safe_cell
from datasets.readers.csv_list import read_csv_list
from datasets.records import DataSet, Record
from evaluation.predictions_reader import Columns, read_predictions
from evaluation.predictions_writer import write_predictions

FORMULAS = ["=cmd|' /C calc'!A0", "+1", "-1.5", "@SUM(1)", "\t=1", "\r=1", "\n=1", "-"]
HARMLESS = ["", "a=1", "/data/-x.png", "it's", "'quoted'", "''", "1.5", "é", "a\n=b", "FF++"]


@pytest.mark.parametrize("text", [*FORMULAS, *(f"'{text}" for text in FORMULAS), *(f"''{text}" for text in FORMULAS)])
def test_formulas_get_one_apostrophe_that_is_taken_off_again(text):
    assert safe_cell(text) == f"'{text}" and plain_cell(safe_cell(text)) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_stay_as_they_are(text):
    assert safe_cell(text) == plain_cell(text) == text


def written(path, names, label=1):
    """predictions.csv of a record for each name, which is its path, video and method; log-odds are negative."""
    data = DataSet("CDF", [Record(name, name, label, "", name) for name in names])
    p = np.full((len(names), 1), 0.25)
    write_predictions(path, data, [], [(range(len(names)), p, np.full(len(names), -1.5))])
    return data


def test_names_in_predictions_come_back_exactly(tmp_path):
    names = [*FORMULAS, *(f"'{text}" for text in FORMULAS), *(text for text in HARMLESS if text)]
    data = written(tmp_path / "predictions.csv", names)
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == RESULT_COLUMNS and is_ours(header)
    texts = [cell for row in rows for cell in row[:6]]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for cell in texts)
    assert {tuple(row[7:]) for row in rows} == {("0.25", "-1.5")}, "numbers stay as they are"
    p = read_predictions(str(tmp_path / "predictions.csv"))
    assert (p.paths, p.methods) == (names, names)
    assert [p.video_ids[video][1] for video in p.video] == names
    assert p.frame_names == [record.frame for record in data.records]
    by_frame = read_predictions(str(tmp_path / "predictions.csv"), Columns(video="path"))
    assert [by_frame.video_ids[video][1] for video in by_frame.video] == names


def test_ordinary_files_are_byte_for_byte_as_without(tmp_path):
    names = ["data/CDF/a/0.png", '/x/it\'s, "b".png', "ü\n.png"]
    written(tmp_path / "predictions.csv", names, label=0)
    text = io.StringIO()
    rows = [["CDF", name, Record(name, name, 0).frame, name, 0, name, "", "0.25", "-1.5"] for name in names]
    csv.writer(text).writerows([RESULT_COLUMNS, *rows])
    assert (tmp_path / "predictions.csv").read_bytes() == text.getvalue().encode()


def test_apostrophes_of_other_systems_stay(tmp_path):
    (tmp_path / "theirs.csv").write_text("path,video,label,p_fake\n'=a.png,'-v,1,0.5\n")
    p = read_predictions(str(tmp_path / "theirs.csv"))
    assert (p.paths, p.video_ids) == (["'=a.png"], [("", "'-v")])


def test_predictions_are_a_list_of_images_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("=a.png", "'=a.png"):
        (tmp_path / name).touch()
    written(tmp_path / "predictions.csv", ["=a.png", "'=a.png"])
    assert [record.path for record in read_csv_list(tmp_path / "predictions.csv").records] == ["=a.png", "'=a.png"]
    (tmp_path / "theirs.csv").write_text("path,label\n'=a.png,1\n")
    assert [record.path for record in read_csv_list(tmp_path / "theirs.csv").records] == ["'=a.png"]
