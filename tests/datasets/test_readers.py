import json
from dataclasses import replace

import pytest

from datasets.readers.celeb_df import LIST_NAME, PLUS, V2, listed_videos, read_celeb_df
from datasets.readers.dfdc import read_dfdc, read_labels
from datasets.readers.ffpp import METHOD_CODES, compression_dir, extraction_of, read_ffpp, split_of_actors
from datasets.readers.image_folder import read_image_folder
from datasets.records import evenly_spaced, node_code, node_vector
from datasets.test_sets import TEST_SETS, ReadOptions
from models.label_tree import FFPP
from preprocessing.extraction.crop_folder import _started_file
from preprocessing.extraction.manifest import row_file
from utils.cli import UserError


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_evenly_spaced_is_linspace_cut_to_integers_without_duplicates():
    assert evenly_spaced(list(range(10)), 4) == [0, 3, 6, 9]
    assert evenly_spaced(list(range(3)), 64) == [0, 1, 2]
    assert evenly_spaced(list("abcde"), 1) == ["a"]
    assert evenly_spaced([], 4) == []


def test_node_code_round_trips():
    assert node_code(node_vector("120110111101")) == "120110111101"


def test_celeb_df_frames_are_the_references(golden_crops, golden_expected):
    data = read_celeb_df(golden_crops, golden_expected["n_frames"])
    chosen = {}
    for record in data.records:
        chosen.setdefault(record.video, []).append(record.frame + ".png")
        assert record.label == int(record.video.startswith("FakeCDF"))
    assert chosen == {video: expected["frames"] for video, expected in golden_expected["videos"].items()}


def test_celeb_df_with_the_official_list_counts_missing_videos(crops_copy, tmp_path):
    root = tmp_path / "CDF"
    root.mkdir()
    crops_copy.rename(root / "faces")
    lines = ["1 Celeb-real/id0_0000.mp4", "0 Celeb-synthesis/id1_0001.mp4", "1 YouTube-real/00099.mp4"]
    (root / "List_of_testing_videos.txt").write_text("\n".join(lines) + "\n")
    for place in (root, root / "faces"):
        data = read_celeb_df(place, 2)
        assert {record.video for record in data.records} == {"RealCDF/id0_0000", "FakeCDF/id1_0001"}
        assert [(drop.video, drop.label, drop.reason) for drop in data.dropped] == [("RealCDF/00099", 0, "no_crops")]
        assert data.videos_listed == 3
    (root / "List_of_testing_videos.txt").write_text("2 Celeb-real/id0_0000.mp4\n")
    with pytest.raises(UserError, match=r"testing_videos\.txt:1"):
        read_celeb_df(root, 2)


def test_celeb_df_without_crops_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="extract_faces"):
        read_celeb_df(tmp_path, 4)


@pytest.fixture
def ffpp_root(tmp_path):
    """A crop of each test video of one pair; Face2Face/001_000 has none."""
    root = tmp_path / "FF++"
    root.mkdir()
    (root / "test.json").write_text(json.dumps([["000", "001"]]))
    for method in ("real", *METHOD_CODES):
        for video in ("000", "001") if method == "real" else ("000_001", "001_000"):
            if (method, video) != ("Face2Face", "001_000"):
                folder = compression_dir(tmp_path, method, "c23") / "faces" / video
                folder.mkdir(parents=True)
                for frame in range(5):
                    (folder / f"{frame:04d}.png").write_bytes(b"")
    return tmp_path


def test_ffpp_ids_labels_codes_and_coverage(ffpp_root):
    data = read_ffpp(ffpp_root, FFPP, 2)
    assert data.videos_listed == 10
    assert [(drop.video, drop.reason) for drop in data.dropped] == [("Face2Face/001_000", "no_crops")]
    assert len({record.video for record in data.records}) == 9, "the four methods' videos of a pair stay apart"
    first = {record.video: record for record in data.records}
    assert (first["real/000"].label, first["real/000"].code) == (0, "0000000000")
    assert (first["FaceSwap/000_001"].label, first["FaceSwap/000_001"].code) == (1, "1011111111")
    assert first["NeuralTextures/001_000"].method == "NeuralTextures"
    assert [r.frame for r in data.records if r.video == "real/000"] == ["0000", "0004"]
    assert read_ffpp(ffpp_root / "FF++", FFPP, 2).records == data.records


@pytest.mark.parametrize(
    ("content", "message"), [("{", "is not JSON"), ('{"a": 1}', "list of pairs"), ("[[1, 2]]", "pairs")]
)
def test_wrong_split_files_are_refused(tmp_path, content, message):
    (tmp_path / "FF++").mkdir()
    (tmp_path / "FF++" / "test.json").write_text(content)
    with pytest.raises(UserError, match=message):
        read_ffpp(tmp_path, FFPP, 2)
    with pytest.raises(UserError, match=r"train\.json"):
        read_ffpp(tmp_path, FFPP, 2, split="train")


def test_pairs_and_list_lines_named_twice_count_once(ffpp_root, crops_copy):
    (ffpp_root / "FF++" / "test.json").write_text(json.dumps([["000", "001"], ["001", "000"]]))
    assert read_ffpp(ffpp_root, FFPP, 2).videos_listed == 10
    (crops_copy / "List_of_testing_videos.txt").write_text("1 Celeb-real/id0_0000.mp4\n" * 2)
    assert read_celeb_df(crops_copy, 2).videos_listed == 1


def test_ffpp_folder_may_have_any_name(ffpp_root):
    expected = read_ffpp(ffpp_root, FFPP, 2)
    (ffpp_root / "FF++").rename(ffpp_root / "faceforensics")
    assert len(read_ffpp(ffpp_root / "faceforensics", FFPP, 2).records) == len(expected.records)


def test_celeb_df_list_that_is_no_text_is_refused(crops_copy):
    (crops_copy / "List_of_testing_videos.txt").write_bytes(b"1 Celeb-real/\xe9.mp4\n")
    with pytest.raises(UserError, match="cannot read"):
        read_celeb_df(crops_copy, 2)


def test_dfdc_videos_listed_twice_count_once(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "faces" / name).mkdir(parents=True)
        (tmp_path / "faces" / name / "0.png").touch()
    labels = tmp_path / "labels.csv"
    labels.write_bytes(b"\xef\xbb\xbffilename,label\r\na.mp4,1\r\nb.mp4,0\r\na.mp4,1\r\n\r\n")
    data = read_dfdc(tmp_path, 4)
    assert [(record.video, record.label) for record in data.records] == [("a", 1), ("b", 0)] and data.videos_listed == 2
    for line, message in (
        ("a.avi,1", ":4: a.avi and a.mp4 share a name"),
        ("b.mp4,1", ":4: b.mp4 has two different labels"),
        ("c.mp4,2", ":4: expected a file name and 0 or 1"),
        ("..,1", ":4: expected a file name and 0 or 1"),
    ):
        labels.write_text(f"filename,label\na.mp4,1\nb.mp4,0\n{line}\n")
        with pytest.raises(UserError, match=message):
            read_labels(labels)
    for text in ("", "\n", "a.mp4,1\n"):
        labels.write_text(text)
        with pytest.raises(UserError, match=r"labels\.csv:1: expected the header filename,label, got"):
            read_labels(labels)


@pytest.mark.parametrize(
    "content", ["[]", '{"a.mp4": 1}', '{"a.mp4": {"label": "odd"}}', '{"a.mp4": {}}', '{"../a.mp4": {"is_fake": 1}}']
)
def test_a_metadata_json_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "metadata.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"metadata\.json.* is no "):
        read_labels(path)


@pytest.mark.parametrize(
    "text",
    [
        "filename,label\na.mp4,1\nb.mp4,0\n",
        ",filename,label\n0,a.mp4,1\n1,b.mp4,0\n",  # pandas writes an index
        "Unnamed: 0,Video,split,is_fake\n7,a.mp4,test,True\n8,b.mp4,test,False\n",
        "label,original,name\nFAKE,b.mp4,a.mp4\nREAL,,b.mp4\n",
        "is_fake,filename\n1.0,a.mp4\n0.0,b.mp4\n",
    ],
)
def test_dfdc_columns_are_found_by_their_names(tmp_path, text):
    (tmp_path / "labels.csv").write_text(text)
    assert [(entry.file, entry.label) for entry in read_labels(tmp_path / "labels.csv")] == [("a.mp4", 1), ("b.mp4", 0)]


@pytest.mark.parametrize("folder", ["", "test", "videos", "test/videos", "train/dfdc_train_part_3"])
@pytest.mark.parametrize("name", ["labels.csv", "metadata.json"])
def test_dfdc_labels_in_every_usual_place(tmp_path, folder, name):
    root = tmp_path / "DFDC"
    for video in "ab":
        touch(root / "faces" / video / "0.png")
    text = json.dumps({"a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"}, "b.mp4": {"is_fake": 0}})
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / name).write_text("filename,label\na.mp4,1\nb.mp4,0\n" if name.endswith("csv") else text)
    for place in (root, root / "faces", *([root / "test"] if folder == "test" else [])):
        assert [(record.video, record.label) for record in read_dfdc(place, 4).records] == [("a", 1), ("b", 0)]


def test_dfdc_parts_are_read_together_in_order(tmp_path):
    for part, video in ((10, "c"), (9, "b"), (0, "a")):
        folder = tmp_path / f"dfdc_train_part_{part}"
        touch(folder / f"{video}.mp4")
        (folder / "metadata.json").write_text(
            json.dumps({f"{video}.mp4": {"label": "FAKE"}, "b.mp4": {"label": "REAL"}})
        )
        touch(tmp_path / "faces" / video / "0.png")
    with pytest.raises(UserError, match=r"part_9/metadata\.json:2: b\.mp4 has two|part_9.*label"):
        (tmp_path / "dfdc_train_part_9" / "metadata.json").write_text('{"b.mp4": {"label": "FAKE"}}')
        read_dfdc(tmp_path, 4)
    (tmp_path / "dfdc_train_part_9" / "metadata.json").write_text('{"b.mp4": {"label": "REAL"}}')
    assert [(record.video, record.label) for record in read_dfdc(tmp_path, 4).records] == [("a", 1), ("b", 0), ("c", 1)]
    (tmp_path / "dfdc_train_part_9" / "metadata.json").unlink()
    with pytest.raises(UserError, match=r"dfdc_train_part_9 holds videos, but no metadata\.json"):
        read_dfdc(tmp_path, 4)
    (tmp_path / "labels.csv").write_text("filename,label\na.mp4,1\n")  # the test set's go first
    assert [record.video for record in read_dfdc(tmp_path, 4).records] == ["a"]


def test_dfdc_without_labels_names_the_places(tmp_path):
    with pytest.raises(UserError, match=r"no labels\.csv and no metadata\.json of DFDC in .*test.*dfdc_train_part_"):
        read_dfdc(tmp_path, 4)


PLUS_LIST = """1 Celeb-real/id0_0001.mp4
1 YouTube-real/00170.mp4
0 Celeb-synthesis/FaceSwap/Celeb-DF-v2/id1_id0_0007.mp4
0 Celeb-synthesis/FaceSwap/BlendFace/videos/id1_id0_0007.mp4
0 Celeb-synthesis\\TalkingFace\\EDTalk\\id1_0007_test_id2.mp4
"""


def test_celeb_df_plus_has_a_class_for_each_method(tmp_path):
    found = ["RealCDF/id0_0001", "RealCDF/00170", "Celeb-DF/id1_id0_0007", "BlendFace/id1_id0_0007"]
    for video in found:
        touch(tmp_path / "CDF++" / "faces" / video / "0.png")
    options = ReadOptions(tmp_path, FFPP, n_frames=2)
    everything = TEST_SETS["CDFpp"].read(options)
    assert {record.video for record in everything.records} == set(found)
    (tmp_path / "CDF++" / LIST_NAME).write_text(PLUS_LIST)
    data = TEST_SETS["CDFpp"].read(options)
    assert [(record.video, record.label, record.method) for record in data.records] == list(
        zip(found, (0, 0, 1, 1), ("real", "real", "Celeb-DF", "BlendFace"), strict=True)
    )
    assert [(drop.video, drop.label) for drop in data.dropped] == [("EDTalk/id1_0007_test_id2", 1)]
    assert data.name == "CDFpp"
    for line in ("0 Celeb-synthesis/x.mp4", "0 Celeb-synthesis/../../x.mp4", "1 Celeb-real/FaceSwap/SimSwap/x.mp4"):
        (tmp_path / "CDF++" / LIST_NAME).write_text(line)
        with pytest.raises(UserError, match=r"names no Celeb-DF\+\+ video"):
            TEST_SETS["CDFpp"].read(options)
    (tmp_path / "CDF++" / LIST_NAME).write_text(PLUS_LIST)
    with pytest.raises(UserError, match=r":3: .* names no Celeb-DF v2 video"):
        listed_videos(tmp_path / "CDF++" / LIST_NAME)


def test_official_numbers_of_celeb_df():
    assert sum(V2.official.values()) == 518
    assert sum(PLUS.official.values()) == 5418
    assert len(PLUS.official) == 1 + 22


def test_celeb_df_v1_is_read_as_v2_is(tmp_path):
    for video in ("RealCDF/id0_0001", "FakeCDF/id1_id0_0007"):
        touch(tmp_path / "CDFv1" / "faces" / video / "0.png")
    (tmp_path / "CDFv1" / LIST_NAME).write_text("1 Celeb-real/id0_0001.mp4\n0 Celeb-synthesis/id1_id0_0007.mp4\n")
    data = TEST_SETS["CDFv1"].read(ReadOptions(tmp_path, FFPP, n_frames=2))
    assert [(record.video, record.label) for record in data.records] == [
        ("RealCDF/id0_0001", 0),
        ("FakeCDF/id1_id0_0007", 1),
    ]
    groups, findings = TEST_SETS["CDFv1"].crop_groups(tmp_path, None, "c23")
    assert [(group.label, group.official) for group in groups] == [("RealCDF", 1), ("FakeCDF", 1)] and not findings


DFD_REAL, DFD_FAKE = "original_sequences/actors", "manipulated_sequences/DeepFakeDetection"


def test_deepfakedetection_tests_all_videos_of_actors(tmp_path):
    touch(tmp_path / "FF++" / DFD_REAL / "c23/faces/24__exit_phone_room/0.png")
    touch(tmp_path / "FF++" / DFD_REAL / "c23/videos/23__no_face.mp4")
    touch(tmp_path / "FF++" / DFD_FAKE / "c23/faces/24_23__exit_phone_room__YVGY8LOK/0.png")
    options = ReadOptions(tmp_path, FFPP, n_frames=2)
    data = TEST_SETS["DFD"].read(options)
    assert [(record.video, record.label, record.code, record.method) for record in data.records] == [
        ("real/24__exit_phone_room", 0, "0000000000", "real"),
        ("DeepFakeDetection/24_23__exit_phone_room__YVGY8LOK", 1, "1011111111", "DeepFakeDetection"),
    ]
    assert [(drop.video, drop.reason) for drop in data.dropped] == [("real/23__no_face", "no_crops")]
    assert TEST_SETS["DFD"].read(replace(options, datapath=tmp_path / "FF++")).records == data.records
    with pytest.raises(UserError, match="no official splits, all its videos are tested"):
        TEST_SETS["DFD"].read(replace(options, split="val"))
    groups, findings = TEST_SETS["DFD"].crop_groups(tmp_path, None, "c23")
    assert [(group.label, group.official, len(group.videos)) for group in groups] == [
        ("real", 363, 2),
        ("DeepFakeDetection", 3068, 1),
    ]
    assert [finding.kind for finding in findings] == ["count_mismatch"] * 2
    assert "--dataset DFD" in extraction_of(str(tmp_path / "FF++" / DFD_REAL / "c23/faces/24__exit_phone_room"))


def test_actors_are_in_one_split():
    splits = [split_of_actors(f"{actor:02}__kitchen_pan") for actor in range(1, 29)]
    assert {split: splits.count(split) for split in splits} == {"train": 20, "val": 4, "test": 4}
    assert split_of_actors("07_14__kitchen_pan__0XUW13RW") == "test"
    assert split_of_actors("07_01__kitchen_pan__0XUW13RW") is None
    with pytest.raises(UserError, match="'000_003' is no video of DeepFakeDetection"):
        split_of_actors("000_003")


BENCHMARK_LABELS = {
    0: "FF-real DFD_real CelebDFv1_real CelebDFv2_real DFDC_Real DFDCP_Real DF_real UADFV_Real roop_Real FSAll_Real "
    "whichisreal_Real sd2.1_Real",
    1: "FF-DF FF-F2F FF-FS FF-NT FF-FH FF-SH FaceShifter DFD_fake CelebDFv1_fake CelebDFv2_fake DFDC_Fake DFDCP_FakeA "
    "DFDCP_FakeB DF_fake UADFV_Fake roop_Fake FSAll_Fake whichisreal_Fake sd2.1_Fake facedancer_Fake",
}


def test_labels_of_the_benchmark(tmp_path):
    expected = {name: label for label, names in BENCHMARK_LABELS.items() for name in names.split()}
    videos = {name: {"label": name, "frames": [f"{name}/0.png"]} for name in expected}
    (tmp_path / "x.json").write_text(json.dumps({"x": {"x": {"test": videos}}}))
    data = TEST_SETS["json"].read(ReadOptions(tmp_path, FFPP, tmp_path / "x.json", n_frames=1))
    assert {record.method: record.label for record in data.records} == expected


def begin(root, *videos):
    """What an extraction leaves of videos at whose crops it was killed."""
    for video in videos:
        _started_file(root, video).parent.mkdir(parents=True, exist_ok=True)
        _started_file(root, video).touch()


def test_videos_whose_extraction_did_not_end_are_dropped(crops_copy, tmp_path, monkeypatch):
    root = tmp_path / "CDF"
    root.mkdir()
    crops_copy.rename(root / "faces")
    (root / "faces/FakeCDF/without").mkdir()
    begin(root, "RealCDF/id0_0000", "FakeCDF/id1_0001", "FakeCDF/without")
    row_file(root, "FakeCDF/id1_0001").touch()  # written last, so this one is whole
    monkeypatch.chdir(root / "faces")
    for place in (root, root / "faces", "."):
        data = read_celeb_df(place, 2)
        assert {drop.video: drop.reason for drop in data.dropped} == {
            "RealCDF/id0_0000": "unfinished: the extraction of its crops did not end",
            "FakeCDF/without": "no_crops",
        }
        assert len({record.video for record in data.records}) == 5 and data.videos_listed == 7
    begin(root, *(f"{path.parent.name}/{path.name}" for path in (root / "faces").glob("*/*")))
    row_file(root, "FakeCDF/id1_0001").unlink()
    with pytest.raises(UserError, match=r"no video has enough face crops \(unfinished.*extract_faces"):
        read_celeb_df(root, 2)


def test_unfinished_videos_of_class_folders_are_dropped(crops_copy):
    for old, new in (("RealCDF", "real"), ("FakeCDF", "fake")):
        (crops_copy / old).rename(crops_copy / new)
    assert len({record.video for record in read_image_folder(crops_copy, 2).records}) == 6
    begin(crops_copy / "real", "id0_0000")  # extract_faces.py --dataset videos --save_path .../real
    data = read_image_folder(crops_copy, 2)
    assert [(drop.video, drop.label) for drop in data.dropped] == [("real/id0_0000", 0)] and data.videos_listed == 6
    begin(crops_copy, *(f"{path.parent.name}/{path.name}" for path in crops_copy.glob("*/*")))
    with pytest.raises(UserError, match=r"unfinished.*extract_faces"):
        read_image_folder(crops_copy, 2)
