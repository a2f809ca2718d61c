"""Generated lists, tables and JSON files through every reader: a result or a reason, never a traceback, a hang or a
file outside of the output folder."""

import contextlib
import csv
import io
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import SJEDD_check_data
import SJEDD_predict
import SJEDD_report
from datasets.crop_manifest import rows_by_video
from datasets.crop_settings import crop_settings, differences
from datasets.readers.celeb_df import listed_videos
from datasets.readers.csv_list import read_csv_list
from datasets.readers.deepfakebench_json import read_deepfakebench_json
from datasets.readers.dfdc import read_labels
from datasets.readers.ffpp import split_videos
from datasets.readers.txt_list import read_txt_list
from datasets.records import DataSet, Record, by_video
from datasets.transforms import ImageError, read_image
from evaluation.calibration import calibrated_checkpoint, read_calibration
from evaluation.predictions_reader import read_predictions
from evaluation.predictions_writer import refuse_other_source, write_predictions
from models.label_tree import FFPP, FFSC
from preprocessing.extraction import manifest
from preprocessing.extraction.crop_folder import working_in
from preprocessing.extraction.find_files import find_inputs, find_videos
from preprocessing.lists.checks import shared_crop_settings
from tests.conftest import DATA
from tests.stress.scripts import refusal
from utils.cli import UserError

CROP = str(next((DATA / "cdf_tiny").rglob("*.png")))
EXAMPLES = 100
NASTY = ["", " ", "\t", "\r", "\r\n", "\ufeff", "\0", '"', "'", '""', ",", ";", "\\", "é", "日本", "🎭", "\u202e",
         "\x1b[2J", "²", "٣", "0", "1", "2", "-1", "1e999", "nan", "inf", "9" * 30, "1.5", "real", "fake", "x" * 300,
         "a/../../../b", "../../../etc/passwd", "/dev/zero", "/dev/stdin", "/", ".", "..", "~", "$(touch x)",
         "`touch x`", "%s", "{0}", "1000000000", "0101011111", "012012012012", "path", "label", "video", "p_fake",
         CROP, "x.mp4", "y.png", "RealCDF", "Celeb-real/id0_0000.mp4", "ok", "no_face", "--output"]  # fmt: skip
WORDS = st.one_of(st.sampled_from(NASTY), st.text(max_size=8))
JSON_WORDS = st.one_of(WORDS, st.text(st.characters(categories=["Cs"]), min_size=1, max_size=2))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), JSON_WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(JSON_WORDS, inner, max_size=4)),
    max_leaves=12,
)


CHANGES = {
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.rename": 2,
    "os.link": 2,
    "os.symlink": 2,
    "os.truncate": 1,
}
WATCHED: list[set[Path]] = []  # what the last, the one in use, collects: places that this process changes


def _note(event, arguments):
    """An audit hook; it stays for the life of the process."""
    if not WATCHED:
        return
    places = arguments[: CHANGES.get(event, 0)]
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        places = arguments[:1]
    WATCHED[-1].update(Path.cwd() / os.fsdecode(place) for place in places if not isinstance(place, int))


sys.addaudithook(_note)


def lines(*plausible, header=""):
    """Bytes of a text file: plausible lines among nasty ones, with any ends of lines."""
    field = st.one_of(st.sampled_from([word for line in plausible for word in (line, *line.split())]), WORDS)
    odd = st.tuples(st.sampled_from([" ", ",", "\t"]), st.lists(field, max_size=6)).map(
        lambda parts: parts[0].join(parts[1])
    )
    good = st.sampled_from(plausible)
    rows = st.lists(st.one_of(good, good, good, good, odd), max_size=6)
    body = st.tuples(st.sampled_from(["\n", "\n", "\r\n", "\r"]), rows).map(lambda parts: parts[0].join(parts[1]))
    start = st.sampled_from([header, header, header, "\ufeff" + header, ""])
    text = st.tuples(start, body).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass"))
    return st.one_of(text, text, text, st.binary(max_size=60))


def table(**columns):
    """Bytes of a CSV file with these columns of plausible values, nasty ones and a field too many now and then."""
    odd, good = st.integers(0, 11), [st.sampled_from(values) for values in columns.values()]
    row = st.tuples(odd, *(st.tuples(odd, value, WORDS) for value in good)).map(
        lambda r: ["x"] * (r[0] == 0) + [nasty if which == 0 and r[0] < 6 else value for which, value, nasty in r[1:]]
    )
    return st.lists(row, max_size=6).map(lambda rows: csv_bytes(columns, rows))


def csv_bytes(header, rows):
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([header, *rows])
    return text.getvalue().encode("utf-8", "surrogatepass")


def json_of(value):
    """Bytes of JSON, with NaN and halves of letters where the value has them; now and then cut off."""
    text = value.map(lambda content: json.dumps(content).encode())
    return st.one_of(*[text] * 9, text.flatmap(lambda b: st.integers(0, len(b)).map(lambda n: b[:n])))


def some(**keys):
    """Objects with these keys, of plausible values or of any."""
    return st.fixed_dictionaries(
        {}, optional={key: st.one_of(value, value, value, value, value, VALUES) for key, value in keys.items()}
    )


NUMBER = st.floats(0, 1)
FRAMES = st.lists(st.one_of(st.sampled_from([CROP, "a\\1.png", "/b/2.png"]), WORDS), min_size=1, max_size=4)
LABEL = st.sampled_from(["FF-real", "FF-FS", "fake"])
VIDEO = st.one_of(
    *[st.fixed_dictionaries({"label": LABEL, "frames": FRAMES})] * 9, some(label=JSON_WORDS, frames=VALUES)
)
SPLIT = st.fixed_dictionaries({"test": st.dictionaries(WORDS, VIDEO, min_size=1, max_size=3)})
LABELS = st.dictionaries(st.sampled_from(["FF-real", "FF-DF", "real", "x_fake"]), SPLIT, min_size=1, max_size=3)
DEEPFAKEBENCH = st.dictionaries(JSON_WORDS, LABELS, min_size=1, max_size=2)
PREDICTIONS = {"dataset": ["d", ""], "video": ["v", "w", "x"], "frame": ["1", "2"],
               "path": [CROP, "v/1.png", "w/2.png"], "label": ["0", "1", "real"], "method": ["m", ""],
               "code": ["", "11", "10"], "p_fake": ["0.1", "0.9", "1e-300"], "logit_fake": ["-1", "1e300"],
               "expression": ["0.5"]}  # fmt: skip
MANIFEST = {name: ["1.5", "3.000"] for name in manifest.COLUMNS} | {
    "video": ["v"], "frame": ["0", "12"], "status": ["ok", "no_face"], "path": ["faces/v/0000.png"],
    "wanted_frame": ["0"], "n_frames": ["4"], "video_bytes": ["9"]}  # fmt: skip
METRICS = some(dropped=st.lists(some(video=WORDS, path=WORDS, label=st.integers(0, 1), reason=WORDS), max_size=2),
               threshold=NUMBER, checkpoint=WORDS)  # fmt: skip
METRICS = METRICS.map(lambda found: found | {"frames": 2, "videos": 2})
METADATA = st.dictionaries(
    st.one_of(st.sampled_from(["a.mp4", "../b.mp4"]), WORDS),
    some(label=st.sampled_from(["FAKE", "REAL", "x"]), is_fake=st.integers(0, 2)),
    max_size=3,
)
RECIPE = some(detector=WORDS, size=st.integers(), scale=NUMBER, versions=VALUES, donors=VALUES, format=WORDS)


def scored(data: DataSet, folder: Path) -> None:
    """What a test makes of a data set: its images are read and its rows are written."""
    for record in data.records:
        with contextlib.suppress(ImageError):
            read_image(record.path)
    n = len(data.records)
    batch = (range(n), np.full((n, 10), 0.5), np.zeros(n))
    if n:
        (folder / "out").mkdir(exist_ok=True)
        write_predictions(folder / "out" / "predictions.csv", data, FFPP.nodes[1:], [batch])
    crop_settings(data.records)


def read_settings(path: Path) -> None:
    """Both readers of manifest.json, and the extraction that goes on beside it."""
    place = path.parent / "faces" / "v" / "0000.png"
    differences(crop_settings([Record(str(place), "v", 0)]))
    shared_crop_settings([path.parent])
    with working_in(path.parent, [], [], {"detector": "mtcnn", "size": 317}, False):
        pass


def report(path: Path) -> None:
    SJEDD_report.main.__wrapped__([str(path), "--output", str(path.parent / "out")])


@contextlib.contextmanager
def not_watched():
    """What a test itself writes."""
    watched, WATCHED[:] = list(WATCHED), []
    try:
        yield
    finally:
        WATCHED[:] = watched


def report_with_metrics(path: Path) -> None:
    rows = [["d", f"v{i}", "0", CROP, i, "m", "", 0.25 + i / 2, 0.1] for i in (0, 1)]
    with not_watched():
        (path.parent / "predictions.csv").write_bytes(csv_bytes(list(PREDICTIONS)[:9], rows))
    read_predictions(str(path.parent / "predictions.csv"))


def check_data(path: Path) -> None:
    SJEDD_check_data.main.__wrapped__(["--txt_path_train", str(path), "--txt_path_val", str(path), "--json"])


def listed(tree):
    return lambda path: scored(by_video(read_txt_list(path, tree, missing_allowed=True), 4), path.parent)


CODE_LINES = (f"{CROP} 1000000000", "x.png 0101011111", "a b/y.png 7 0101011111", "/dev/zero 0101011111")
FFSC_LINES = (f"{CROP} 000000000000", f"{CROP} 1 000000000000")
CSV_LINES = (f"{CROP},0,v,m", "x.png,1,w,n", "/dev/stdin,1,w,n", "..\\..\\y.png,1,,")
PAIRS = st.lists(st.lists(st.one_of(st.sampled_from(["000", "003"]), WORDS), min_size=2, max_size=2), max_size=4)
REPORT_LINES = (f"0.5,0,{CROP}", "0.1,1,a/b.png", "1e-9,1,/dev/zero")
MANIFESTS = st.one_of(lines("v,0,no_face" + "," * 20, "v", header=",".join(manifest.COLUMNS) + "\n"), table(**MANIFEST))
PLATT = some(method=st.just("platt"), slope=NUMBER, intercept=NUMBER, checkpoint=WORDS)
ISOTONIC = some(method=st.just("isotonic"), logits=st.lists(NUMBER), p_fake=st.lists(NUMBER), checkpoint=WORDS)
CALIBRATION = st.one_of(some(method=WORDS, temperature=NUMBER, checkpoint=WORDS), PLATT, ISOTONIC)
VIDEO_LINES = (CROP, f"{CROP}/../x.mp4")
# Reader -> (name of its file, strategy of the file's bytes, function of its path)
READERS = {
    "txt list, FF++": ("list.txt", lines(*CODE_LINES), listed(FFPP)),
    "txt list, FFSC": ("list.txt", lines(*FFSC_LINES), listed(FFSC)),
    "csv list": ("list.csv", lines(*CSV_LINES, header="path,label,video,method\n"),
                 lambda path: scored(by_video(read_csv_list(path), 4), path.parent)),
    "DeepfakeBench JSON": ("a.json", json_of(st.one_of(*[DEEPFAKEBENCH] * 9, VALUES)),
                           lambda path: scored(read_deepfakebench_json(path, path.parent, FFPP, 8), path.parent)),
    "FF++ split": ("FF++/test.json", json_of(PAIRS), lambda path: split_videos(path.parent.parent, "test")),
    "DFDC labels": ("labels.csv", lines("a.mp4,0", "b.mp4,1", "../c.mp4,1", header="filename,label\n"),
                    read_labels),
    "DFDC metadata": ("metadata.json", json_of(st.one_of(*[METADATA] * 9, VALUES)), read_labels),
    "Celeb-DF list": ("List_of_testing_videos.txt", lines("1 Celeb-real/x.mp4", "0 Celeb-synthesis\\y.mp4"),
                      listed_videos),
    "list, SJEDD_check_data.py": ("list.txt", lines(*CODE_LINES), check_data),
    "manifest.csv": ("manifest.csv", MANIFESTS,
                     lambda path: (manifest.read_rows(path), rows_by_video(path.parent))),
    "manifest.json": ("manifest.json", json_of(st.one_of(RECIPE, VALUES)), read_settings),
    "table, SJEDD_report.py": ("predictions.csv", lines(*REPORT_LINES, header="p_fake,label,path\n"), report),
    "predictions.csv": ("predictions.csv", table(**PREDICTIONS), lambda path: read_predictions(str(path))),
    "metrics.json": ("metrics.json", json_of(st.one_of(*[METRICS] * 9, VALUES)), report_with_metrics),
    "metrics.json of an earlier test": ("metrics.json", json_of(some(source=WORDS)),
                                        lambda path: refuse_other_source(path.parent, "list.txt")),
    "calibration.json": ("calibration.json", json_of(CALIBRATION),
                         lambda path: (read_calibration(path), calibrated_checkpoint(path))),
    "videos of a list": ("list.txt", lines(*VIDEO_LINES), lambda path: find_videos([path], path.parent / "out")[0]),
    "inputs of a list": ("list.txt", lines(*VIDEO_LINES), lambda path: find_inputs([path])[0]),
}  # fmt: skip


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The place of the files, and where a script may write: below its ``out``."""
    folder = tmp_path / "deep" / "er" / "root"
    (folder / "FF++").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@contextlib.contextmanager
def nothing_else_written(root):
    """AssertionError when this process makes, changes or removes anything but in ``root``'s ``out`` inside."""
    WATCHED.append(set())
    try:
        yield
    finally:
        places = WATCHED.pop()
    foreign = {place for place in places if ".." in place.parts or not place.is_relative_to(root / "out")}
    assert not foreign, foreign


@pytest.mark.parametrize("reader", READERS)
def test_generated_files_are_read_or_refused(reader, root, account, capfd):
    name, strategy, read = READERS[reader]
    outcomes, started = [], time.perf_counter()

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(content=strategy)
    def attack(content):
        (root / name).write_bytes(content)
        try:
            with nothing_else_written(root):
                read(root / name)
            outcomes.append("read")
        except UserError as error:
            assert str(error)
            outcomes.append("refused")

    attack()
    capfd.readouterr()
    account(f"generated: {reader}", outcomes, seconds=time.perf_counter() - started)


SPECIAL = {
    "pipe": os.mkfifo,
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "/dev/stdin": lambda path: path.symlink_to("/dev/stdin"),
    "folder": Path.mkdir,
    "loop of links": lambda path: path.symlink_to(path),
    "100 GB of nothing": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 100 << 30),
    "10 MB line": lambda path: path.write_text("1" * 10_000_000),
    "10 MB line of fields": lambda path: path.write_text("1 ,1,\t" * 1_700_000),
    "10 MB of brackets": lambda path: path.write_text("[" * 10_000_000),
    "number of 10^6 digits": lambda path: path.write_text("[" + "1" * 1_000_000 + "]"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("reader", READERS)
def test_files_that_are_none(reader, root, account, capfd):
    name, _, read = READERS[reader]
    outcomes, slowest = [], 0.0
    for kind, make in SPECIAL.items():
        place = root / name
        make(place)
        started = time.perf_counter()
        try:
            read(place)
            outcomes.append("read or passed over")
        except UserError as error:
            assert str(error), kind
            outcomes.append("refused")
        slowest = max(slowest, time.perf_counter() - started)
        place.rmdir() if place.is_dir() and not place.is_symlink() else place.unlink()
    account(f"no ordinary file: {reader}", outcomes, seconds=slowest)


def test_a_long_line_gives_a_short_reason(tmp_path, capsys):
    (tmp_path / "list.csv").write_text("path,label\n" + "x" * 10_000_000 + ",\x1b[2J\n")
    (tmp_path / "list.txt").write_text("x.png " + "1" * 10_000_000)
    for argv in (["--txt_path_train", str(tmp_path / "list.txt")],):
        assert SJEDD_check_data.main(argv) == 2
        refusal(2, capsys.readouterr().err)
    assert SJEDD_report.main([str(tmp_path / "list.csv"), "--output", str(tmp_path / "out")]) == 2
    refusal(2, capsys.readouterr().err)


def test_a_prediction_that_was_meddled_with(tmp_path, published_checkpoint, capsys, account):
    """What is not whole any more is made again."""
    argv = ["--input", CROP, "--resume", str(published_checkpoint), "--output", str(tmp_path), "--no_pictures"]
    assert SJEDD_predict.main(argv) == 0
    (place,) = tmp_path.glob("*/prediction.json")
    good = json.loads(place.read_text())
    odd = [{}, *({key: value for key, value in good.items() if key != gone} for gone in good)]
    odd += [
        good | {key: value} for key in ("tracks", "p_fake", "outcome", "reason", "input") for value in (5, "x", [5], {})
    ]
    outcomes = []
    for content in odd:
        place.write_text(json.dumps(content))
        assert SJEDD_predict.main(argv) == 0, content
        outcomes.append("read or made again")
    account("prediction.json meddled with", outcomes)
