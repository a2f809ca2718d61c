"""Where every test set is read from, and what its videos are called."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datasets.records import IMAGE_SUFFIXES
from datasets.test_sets import TEST_SETS, ReadOptions
from models.label_tree import FFPP, FFSC
from tests.conftest import REAL, ROOT, SWAP
from tests.layouts import FAKES, FFSC_AGE, FFSC_REAL, REALS
from utils.cli import UserError


def read(name, root, **settings):
    """The data set as SJEDD_test.py asks for it."""
    usual = {
        "datapath": None,
        "compression": "c23",
        "split": "test",
        "protocol": "ours",
        "seed": 0,
        "n_frames": 2,
        "tree": FFPP,
    }
    return TEST_SETS[name].read(ReadOptions(data_root=Path(root), **(usual | settings)))


def videos(data):
    return list(dict.fromkeys((record.video, record.label, record.method) for record in data.records))


def frames(data, video):
    return [record.frame for record in data.records if record.video == video]


@pytest.fixture
def empty_video(tmp_path):
    """Make a folder of n files that only have to exist."""

    def make(folder, n):
        folder.mkdir(parents=True)
        for i in range(n):
            (folder / f"{i:03d}.png").touch()
        return folder

    return make


def test_the_registry_is_light_to_import():
    """Scripts take their choices from it: --help must not wait for NumPy or torch."""
    code = "import sys, datasets.test_sets; sys.exit(bool({'numpy', 'torch', 'cv2'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_data_set_of_videos_names_its_videos_and_its_crops():
    of_videos = [name for name, data_set in TEST_SETS.items() if data_set.videos]
    assert of_videos == ["FFpp", "DFD", "CDF", "CDFv1", "CDFpp", "FSh", "Deeper", "DFDC"]
    for name, data_set in TEST_SETS.items():
        assert bool(data_set.videos) == bool(data_set.crop_groups), name
        assert not (data_set.crop_groups and data_set.image_list), name
        assert not data_set.video_splits or data_set.video_splits[-1] == "all", name


def test_faceshifter_tests_the_fakes_of_the_test_pairs_against_the_ffpp_reals(layouts):
    layouts.ffpp(methods=("real",))
    data = read("FSh", layouts.faceshifter())
    assert videos(data) == [
        *((f"real/{a}", 0, "real") for a in REALS),
        *((f"FaceShifter/{ab}", 1, "FaceShifter") for ab in FAKES),
    ]
    assert data.videos_listed == 8 and not data.dropped and not data.image_level
    assert {record.code for record in data.records} == {""}


def test_faceshifter_reads_fakes_and_reals_of_one_compression(layouts):
    layouts.ffpp("c40", ("real",))
    layouts.faceshifter("FSh/c40/faces")
    data = read("FSh", layouts.root, compression="c40")
    assert all("/c40/faces/" in record.path for record in data.records)
    with pytest.raises(UserError, match="c23/faces"):
        read("FSh", layouts.root)


@pytest.mark.parametrize("datapath", ["fakes", "fakes/c23", "fakes/c23/faces"])
def test_datapath_moves_the_fakes_of_faceshifter_only(layouts, datapath):
    layouts.ffpp(methods=("real",))
    layouts.faceshifter("fakes/c23/faces")
    data = read("FSh", layouts.root, datapath=layouts.root / datapath)
    places = {(record.label, str(Path(record.path).parent.parent.relative_to(layouts.root))) for record in data.records}
    assert places == {(0, "FF++/original_sequences/youtube/c23/faces"), (1, "fakes/c23/faces")}


@pytest.mark.parametrize("name", ["FSh", "Deeper"])
def test_fakes_or_reals_that_are_nowhere_are_named(layouts, name):
    layouts.faceshifter()
    layouts.deeperforensics()
    with pytest.raises(UserError, match=r"test\.json is missing"):
        read(name, layouts.root)
    layouts.ffpp(methods=())
    with pytest.raises(UserError, match=r"its reals are FF\+\+'s, but .*youtube/c23/faces has no crops"):
        read(name, layouts.root)
    layouts.ffpp(methods=("real",))
    with pytest.raises(UserError, match=f"{name}: no face crops of its fakes under .*elsewhere"):
        read(name, layouts.root, datapath=layouts.root / "elsewhere")


def test_deeperforensics_takes_the_fakes_of_test_targets(layouts):
    layouts.ffpp(methods=("real",))
    data = read("Deeper", layouts.deeperforensics())
    fakes = [video for video, label, _ in videos(data) if label]
    assert fakes == ["end_to_end/000_W001", "end_to_end/001_M101", "end_to_end/003_W001"]
    assert data.videos_listed == 7


@pytest.mark.parametrize("datapath", ["deep", "deep/faces", "deep/faces/end_to_end"])
def test_deeperforensics_in_another_place(layouts, datapath):
    layouts.ffpp(methods=("real",))
    layouts.deeperforensics("deep/faces/end_to_end")
    assert read("Deeper", layouts.root, datapath=layouts.root / datapath).videos_listed == 7


def test_protocol_reference_draws_as_many_fakes_as_reals_by_seed(layouts):
    layouts.ffpp(methods=("real",))
    layouts.deeperforensics()

    def drawn(seed):
        data = read("Deeper", layouts.root, protocol="reference", seed=seed)
        assert f"seed {seed}" in data.source
        return [video for video, label, _ in videos(data) if label]

    draws = [drawn(seed) for seed in range(8)]
    assert draws == [drawn(seed) for seed in range(8)]
    assert len({tuple(draw) for draw in draws}) > 1
    assert all(len(draw) == 4 and draw == sorted(draw) for draw in draws)
    assert any("end_to_end/700_W001" in draw for draw in draws), "training targets are drawn too"


def test_dfdc_keeps_short_videos_and_the_reference_drops_them(layouts):
    layouts.dfdc()
    counts = {p.name: len(list(p.iterdir())) for p in (layouts.root / "DFDC" / "faces").iterdir()}
    ours = read("DFDC", layouts.root, n_frames=5)
    assert {video for video, _, _ in videos(ours)} == set(counts)
    assert [(drop.video, drop.label, drop.reason) for drop in ours.dropped] == [("nothing", 0, "no_crops")]
    assert all(label == int(video[0] == "b") for video, label, _ in videos(ours))
    reference = read("DFDC", layouts.root, n_frames=5, protocol="reference")
    assert {video for video, _, _ in videos(reference)} == {video for video, n in counts.items() if n >= 5}
    short = {drop.video: drop.reason for drop in reference.dropped}
    assert short == {"nothing": "no_crops"} | {v: f"too_few_crops: {n} of 5" for v, n in counts.items() if n < 5}
    assert reference.videos_listed == ours.videos_listed == 7
    assert read("DFDC", "", n_frames=5, datapath=layouts.root / "DFDC" / "faces").records == ours.records
    with pytest.raises(UserError, match=r"no video has enough face crops \(too_few_crops: \d of 64\)"):
        read("DFDC", layouts.root, n_frames=64, protocol="reference")


def test_ffsc_list_is_an_image_set_whose_codes_belong_to_its_own_tree(layouts):
    root = layouts.images("FFSC", (FFSC_REAL, FFSC_AGE))
    data = read("FFSC", root, tree=FFSC, n_frames=64)
    assert data.image_level and data.videos_listed == len(data.records) == 30
    assert {(record.label, record.code) for record in data.records} == {(0, FFSC_REAL), (1, FFSC_AGE)}
    assert all(record.video == record.path for record in data.records)
    other = read("FFSC", root, tree=FFPP)
    assert [record.path for record in other.records] == [record.path for record in data.records]
    assert {(record.label, record.code) for record in other.records} == {(0, ""), (1, "")}
    assert read("FFSC", "", datapath=root / "FFSC" / "FFSCtest.txt").records == other.records
    assert read("FFSC", "", datapath=root / "FFSC").records == other.records
    assert data.n_frames is None


def test_ffsc_folders_where_there_is_no_list(layouts):
    root = layouts.ffsc_folders()
    data = read("FFSC", root, tree=FFSC)
    assert data.image_level
    assert {record.method for record in data.records} == {"real", "simswap", "FNeVR"}
    paths = [record.path for record in data.records]
    assert len(set(paths)) == len(paths) == data.videos_listed, "both lists of Test share the reals"
    assert "test and test_protocol1" in data.source
    assert read("FFSC", "", tree=FFSC, datapath=root / "FFSC").records == data.records
    assert {record.code for record in read("FFSC", root).records} == {""}
    layouts.images("FFSC")
    assert read("FFSC", root).source.endswith("FFSCtest.txt")


def test_ffsc_that_is_nowhere_names_both_places(tmp_path):
    with pytest.raises(UserError, match=r"no .*FFSC/FFSCtest\.txt, and .*FFSC/Test is missing; give"):
        read("FFSC", tmp_path)
    with pytest.raises(UserError, match=r"cannot read the list .*none\.txt"):
        read("FFSC", tmp_path, datapath=tmp_path / "none.txt")


@pytest.mark.parametrize("name", ["DiFF", "DiffusionFace"])
def test_diffusion_lists_find_images_below_the_data_set_or_the_data_root(layouts, tmp_path, name):
    root = layouts.images(name)
    data = read(name, root)
    assert data.name == name and data.image_level and data.videos_listed == 30
    assert sum(record.label for record in data.records) == 15
    path = root / name / f"{name}test.txt"
    moved = tmp_path / "lists" / "mine.txt"
    moved.parent.mkdir()
    moved.write_text(path.read_text())
    assert [r.path for r in read(name, root, datapath=moved).records] == [r.path for r in data.records]
    moved.write_text(path.read_text().replace("images/", f"{name}/images/"))
    assert len(read(name, root, datapath=moved).records) == 30
    assert all(Path(record.path).is_file() for record in read(name, root, datapath=moved).records)


def test_missing_images_of_a_test_list_stay_listed_beside_the_others(empty_video, tmp_path, monkeypatch):
    empty_video(tmp_path / "lists" / "crops" / "a", 2)
    (tmp_path / "lists" / "l.txt").write_text("crops/b/000.png 1\ncrops/a/000.png 0\ncrops/a/001.png 0\n")
    monkeypatch.chdir(tmp_path)
    data = read("list", "", datapath=Path("lists/l.txt"), n_frames=None)
    assert [(record.video, record.path) for record in data.records] == [
        ("a", "lists/crops/a/000.png"),
        ("a", "lists/crops/a/001.png"),
        ("b", "lists/crops/b/000.png"),
    ]
    assert data.videos_listed == 2


def test_order_of_a_list_changes_nothing(empty_video, tmp_path):
    lines = [f"{path} {REAL if name == 'a' else SWAP}" for name in "abc"
             for path in sorted(empty_video(tmp_path / name, 9).iterdir())]  # fmt: skip
    results = []
    for order in (lines, lines[::-1], lines[1::2] + lines[::2]):
        (tmp_path / "l.txt").write_text("\n".join(order))
        results.append([read("list", "", datapath=tmp_path / "l.txt", n_frames=n).records for n in (None, 3)])
    assert results[0] == results[1] == results[2]
    assert [len(records) for records in results[0]] == [27, 9]


def test_a_list_of_one_folder_and_one_class_is_one_video(empty_video, tmp_path):
    empty_video(tmp_path / "clip", 3)
    (tmp_path / "l.txt").write_text("".join(f"clip/{i:03d}.png 1\n" for i in range(3)))
    data = read("list", "", datapath=tmp_path / "l.txt")
    assert {record.video for record in data.records} == {"clip"} and not data.image_level
    (tmp_path / "l.txt").write_text("clip/000.png 1\nclip/001.png 0\n")
    assert read("list", "", datapath=tmp_path / "l.txt").image_level


def test_evenly_spaced_means_evenly_spaced_in_every_format(empty_video, tmp_path):
    for name in ("real/a", "fake/b"):
        empty_video(tmp_path / name, 10)
    paths = [f"{name}/{i:03d}.png" for name in ("real/a", "fake/b") for i in range(10)]
    (tmp_path / "l.txt").write_text("".join(f"{path} {int('fake' in path)}\n" for path in paths))
    rows = "".join(f"{path},{int('fake' in path)},{path[:6]}\n" for path in paths)
    (tmp_path / "l.csv").write_text("path,label,video\n" + rows)
    content = {f"X_{name[:4]}": {"test": {name[5:]: {"frames": [p for p in paths if name in p]}}}
               for name in ("real/a", "fake/b")}  # fmt: skip
    (tmp_path / "x.json").write_text(json.dumps({"X": content}))
    wanted = ["000", "003", "006", "009"]
    places = {"list": "l.txt", "csv": "l.csv", "json": "x.json", "folder": ""}
    for name, place in places.items():
        data = read(name, tmp_path, datapath=tmp_path / place, n_frames=4)
        assert frames(data, "X_fake/b" if name == "json" else "fake/b") == wanted, name
        assert len(data.records) == 8


def bench_json(tmp_path, paths=lambda frame: frame, levels=True):
    """FaceForensics++ with two videos per label and compression, three frames each, beside its crops."""
    content = {}
    for label in ("FF-real", "FF-DF", "FF-F2F"):
        entries = {}
        for video in ("000", "003"):
            listed = [f"FaceForensics++/{label}/c23/{video}/{i:03d}.png" for i in range(3)]
            for name in listed:
                (tmp_path / "rgb" / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / "rgb" / name).touch()
            entries[video] = {"label": label, "frames": [paths(name) for name in listed], "masks": []}
        test = {"c23": entries, "c40": {}} if levels else entries
        content[label] = {"train": {}, "val": {}, "test": test}
    (tmp_path / "ff.json").write_text(json.dumps({"FaceForensics++": content}))
    return tmp_path / "ff.json"


@pytest.mark.parametrize("levels", [True, False])
@pytest.mark.parametrize(
    "paths",
    [
        lambda frame: frame,
        lambda frame: "/" + frame,
        lambda frame: frame.replace("/", "\\"),
        lambda frame: "\\" + frame.replace("/", "\\"),
    ],
)
def test_json_in_both_shapes_and_all_slashes(tmp_path, levels, paths):
    path = bench_json(tmp_path, paths, levels)
    data = read("json", tmp_path / "rgb", datapath=path, n_frames=64)
    assert videos(data) == [
        (f"{label}/{video}", int(label != "FF-real"), label)
        for label in ("FF-real", "FF-DF", "FF-F2F")
        for video in ("000", "003")
    ]
    assert len(data.records) == 18 and data.videos_listed == 6
    assert all(Path(record.path).is_file() for record in data.records)
    assert {r.method: r.code for r in data.records} == {
        "FF-real": "0000000000",
        "FF-DF": "1011111111",
        "FF-F2F": "1101001100",
    }
    assert {record.code for record in read("json", tmp_path, datapath=path, tree=FFSC).records} == {""}


def test_json_labels_are_real_in_any_case_and_frames_sort_by_number(tmp_path):
    listed = [f"x/{i}.png" for i in (10, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8)]
    entries = {"DFDC_Real": {"test": {"a": {"label": "DFDC_Real", "frames": listed}}},
               "DFDCP_FakeA": {"test": {"a": {"label": "DFDCP_FakeA", "frames": []}, "b": {"frames": ["x/0.png"]}}},
               "other": {"test": {"a": {"label": "CelebDFv2_real", "frames": ["x/0.png"]}}}}  # fmt: skip
    (tmp_path / "x.json").write_text(json.dumps({"DFDC": entries}))
    data = read("json", tmp_path, datapath=tmp_path / "x.json", n_frames=3)
    assert videos(data) == [
        ("DFDC_Real/a", 0, "DFDC_Real"),
        ("DFDCP_FakeA/b", 1, "DFDCP_FakeA"),
        ("CelebDFv2_real/a", 0, "CelebDFv2_real"),
    ]
    assert frames(data, "DFDC_Real/a") == ["0", "5", "10"]
    assert [(drop.video, drop.reason) for drop in data.dropped] == [("DFDCP_FakeA/a", "no_crops")]
    assert data.videos_listed == 4


def test_json_videos_of_one_label_under_two_keys_stay_apart(tmp_path):
    video = {"test": {"000": {"label": "fake", "frames": ["x/0.png"]}}}
    (tmp_path / "x.json").write_text(json.dumps({"A": {"one": video, "two": video}, "B": {"one": video}}))
    data = read("json", tmp_path, datapath=tmp_path / "x.json")
    assert [record.video for record in data.records] == ["fake/000", "A/two/000", "B/one/000"]


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (None, {"compression": "c40"}, "lists no frame of the split test"),
        (None, {"compression": "raw"}, "FF-real has c23, c40, not raw; set --compression"),
        (None, {"split": "val"}, "lists no frame of the split val"),
        ("[1]", {}, "the file is no object"),
        ('{"A": {"B": {"test": {"v": {"frames": "x.png"}}}}}', {}, "A/B/test/v has no list of frames"),
        ('{"A": {"B": {"test": {"v": {"frames": [], "label": [1]}}}}}', {}, "the label of A/B/test/v is no text"),
        ('{"A": {"B": {"test": {"v": 3}}}}', {}, "A/B/test/v is no object"),
        ('{"A": {"B": {"test": null}}}', {}, "A/B/test is no object"),
        ('{"A": {"FF-DF": {"test": {"v": {"frames": ["x", null]}}}}}', {}, "A/FF-DF/test/v has no list of frames"),
        ('{"A": {"FF-DF": {"test": {"v": {"label": "x"}, "w": {"frames": []}}}}}', {}, "v has no list of frames"),
        (
            '{"A": {"B": {"test": {"v": {"frames": [], "label": "odd"}}}}}',
            {},
            "'odd' of A/B/test/v is neither real nor",
        ),
        ('{"A": {"Deep": {"test": {"v": {"frames": ["x"]}}}}}', {}, "the label 'Deep' of A/Deep/test/v is neither"),
        ('{"A": {"B": 3}}', {}, "A/B is no object"),
        ("{", {}, "is not JSON"),
    ],
)
def test_json_of_another_form_is_refused(tmp_path, content, settings, message):
    path = bench_json(tmp_path)
    if content:
        path.write_text(content)
    with pytest.raises(UserError, match=message):
        read("json", tmp_path, datapath=path, **settings)
    with pytest.raises(UserError, match="cannot read"):
        read("json", tmp_path, datapath=tmp_path / "none.json")


def test_json_with_a_byte_order_mark_null_and_repeated_frames(tmp_path):
    frames = ["x/1.png", "x\\2.png", "/x/1.png", "x/2.png", "x/1.png", "x/10.png", f"x/{'9' * 5000}.png"]
    entries = {"a": {"label": "DF_real", "frames": frames}, "b": {"label": "DF_real", "frames": None},
               "c": {"label": "RealSwap_fake", "frames": []}, "d": {"label": None, "frames": ["x/3.png"]}}  # fmt: skip
    text = json.dumps({"DF": {"DF_fake": {"test": entries}}})
    (tmp_path / "x.json").write_bytes(text.encode("utf-8-sig"))
    data = read("json", tmp_path, datapath=tmp_path / "x.json", n_frames=64)
    assert [(r.video, r.label, r.frame[:9]) for r in data.records] == [
        ("DF_real/a", 0, "1"),
        ("DF_real/a", 0, "2"),
        ("DF_real/a", 0, "10"),
        ("DF_real/a", 0, "9" * 9),
        ("DF_fake/d", 1, "3"),
    ]
    assert [(d.video, d.label, d.reason) for d in data.dropped] == [
        *[("DF_real/a", 0, "duplicate")] * 3,
        ("DF_real/b", 0, "no_crops"),
        ("RealSwap_fake/c", 1, "no_crops"),
    ]
    assert data.videos_listed == 4


@pytest.mark.parametrize("names", [("real", "fake"), ("0_real", "1_fake"), ("Real", "FAKE")])
def test_folder_with_videos(empty_video, tmp_path, names):
    empty_video(tmp_path / names[0] / "a", 5)
    empty_video(tmp_path / names[1] / "Deepfakes" / "000_003", 5)
    empty_video(tmp_path / names[1] / "FaceSwap" / "000_003", 1)
    empty_video(tmp_path / "masks", 1)
    data = read("folder", "", datapath=tmp_path, n_frames=2)
    assert set(videos(data)) == {
        (f"{names[0]}/a", 0, "real"),
        (f"{names[1]}/Deepfakes/000_003", 1, ""),
        (f"{names[1]}/FaceSwap/000_003", 1, ""),
    }
    assert frames(data, f"{names[0]}/a") == ["000", "004"]
    assert not data.image_level and data.videos_listed == 3


def test_folder_with_images(empty_video, tmp_path):
    empty_video(tmp_path / "0_real", 3)
    empty_video(tmp_path / "1_fake", 4)
    data = read("folder", "", datapath=tmp_path, n_frames=2)
    assert data.image_level and data.videos_listed == len(data.records) == 7
    assert all(record.video == record.path for record in data.records)
    assert data.n_frames is None
    empty_video(tmp_path / "1_fake" / "clip", 5)
    mixed = read("folder", "", datapath=tmp_path, n_frames=2)
    assert not mixed.image_level and len(mixed.records) == 9
    assert frames(mixed, "1_fake/clip") == ["000", "004"]
    shutil.rmtree(tmp_path / "0_real")
    shutil.rmtree(tmp_path / "1_fake")
    with pytest.raises(UserError, match="holds no images in real/ and fake/"):
        read("folder", "", datapath=tmp_path)


def write_csv(tmp_path, text):
    for name in ("a.png", "b.png", "c.png", "d.png"):
        (tmp_path / name).touch()
    (tmp_path / "l.csv").write_text(text)
    return {"datapath": tmp_path / "l.csv", "n_frames": None}


def test_csv_with_and_without_videos(tmp_path):
    data = read("csv", "", **write_csv(tmp_path, "path,label\na.png,0\nb.png,1\n"))
    assert data.image_level and [record.video for record in data.records] == [f"{tmp_path}/{n}.png" for n in "ab"]
    text = "Path, label, video, method, note\na.png,0,x,real,\nb.png,1,y,DF,!\n\nc.png,1,y,DF,\n"
    data = read("csv", "", **write_csv(tmp_path, text))
    assert videos(data) == [("x", 0, "real"), ("y", 1, "DF")] and not data.image_level
    assert data.videos_listed == 2 and len(data.records) == 3


def test_csv_videos_of_four_methods_stay_four_videos(tmp_path):
    methods = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")
    rows = "".join(f"{n}.png,1,000_003,{m}\n" for n, m in zip("abcd", methods, strict=True))
    data = read("csv", "", **write_csv(tmp_path, "path,label,video,method\n" + rows))
    assert [record.video for record in data.records] == [f"{m}/000_003" for m in methods]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"l\.csv:1: the header needs path,label"),
        ("a.png,0\n", r"l\.csv:1: the header needs path,label"),
        ("path,label\n", "lists no image"),
        ("path,label\na.png,2\n", r"l\.csv:2: expected a path and the label"),
        ("path,label\na.png,0\nb.png\n", r"l\.csv:3: expected a path and the label"),
        ("path,label\na.png,0\na.png,1\n", r"l\.csv:3: image .*a\.png has label 1 here and 0 above"),
        ("path,label,video\na.png,0,x\nb.png,1,x\n", r"l\.csv:3: video x has label 1 here and 0 above"),
    ],
)
def test_csv_errors_name_file_and_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read("csv", "", **write_csv(tmp_path, text))


def test_csv_that_is_none(tmp_path):
    (tmp_path / "l.csv").write_bytes(b"\xff\xfe")
    for name in ("l.csv", "none.csv"):
        with pytest.raises(UserError, match=rf"cannot read .*{name}"):
            read("csv", "", datapath=tmp_path / name)


def test_ids_are_unique_in_every_set(layouts):
    """The benchmark's trap: videos known by their folder's name alone merge (700 test videos become 280)."""
    layouts.ffpp()
    layouts.faceshifter()
    layouts.deeperforensics()
    layouts.dfdc()
    layouts.celeb_df()
    for name in ("FFpp", "FSh", "Deeper", "DFDC", "CDF"):
        data = read(name, layouts.root, n_frames=64)
        folders = {record.video: set() for record in data.records}
        for record in data.records:
            folders[record.video].add(str(Path(record.path).parent))
        assert all(len(places) == 1 for places in folders.values()), name
        assert len(set().union(*folders.values())) == len(folders) == data.videos_listed - len(data.dropped)
        assert all(record.path.endswith(IMAGE_SUFFIXES) for record in data.records)
    assert sum(video.endswith("/000_001") for video, *_ in videos(read("FFpp", layouts.root))) == 4


def test_usual_number_of_frames_follows_the_model(empty_video, tmp_path):
    empty_video(tmp_path / "RealCDF" / "a", 100)
    for tree, n in ((FFPP, 64), (FFSC, 32)):
        assert len(read("CDF", "", datapath=tmp_path, tree=tree, n_frames=None).records) == n
