"""Extraction over the official layouts: where the crops and the manifest go, and which videos are taken."""

import csv
import json
import shutil

import pytest

from datasets.readers.celeb_df import PLUS, read_celeb_df
from datasets.readers.dfdc import read_dfdc
from datasets.readers.ffpp import DFD, compression_dir, dfd_dirs
from preprocessing.extract_faces import main


def run(root, dataset, *options):
    return main(["--dataset", dataset, "--data_root", str(root), "--n_frames", "1", "--workers", "1", *options])


def videos_in(manifest):
    with manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert row["status"] != "ok" or (manifest.parent / row["path"]).is_file()
    return {row["video"]: row["status"] for row in rows}


@pytest.fixture
def root(raw_demo, tmp_path):
    """A data folder with FF++'s test.json; ``root.put(path)`` makes a video."""
    (tmp_path / "FF++").mkdir()
    shutil.copy(raw_demo / "FF++" / "test.json", tmp_path / "FF++")  # pairs of 004 and 005
    source = compression_dir(raw_demo, "real", "c23") / "videos" / "004.mp4"

    def put(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, tmp_path / name)

    return tmp_path, put


def test_celeb_df_takes_the_official_list_and_feeds_the_test(root, capsys):
    data, put = root
    put("CDF/YouTube-real/videos/00170.mp4", "CDF/Celeb-real/videos/id0_0001.mp4", "CDF/Celeb-real/videos/id9_0009.mp4")
    put("CDF/Celeb-synthesis/videos/id1_id0_0007.mp4")
    assert run(data, "CDF") == 2
    assert "List_of_testing_videos.txt is missing" in capsys.readouterr().err
    (data / "CDF" / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00170.mp4\n1 Celeb-real/id0_0001.mp4\n0 Celeb-synthesis/id1_id0_0007.mp4\n"
        "0 Celeb-synthesis/gone.mp4\n"
    )
    assert run(data, "CDF") == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()[2:4]] == ["FakeCDF", "RealCDF"]
    assert videos_in(data / "CDF" / "manifest.csv") == {
        "FakeCDF/gone": "video_missing", "FakeCDF/id1_id0_0007": "ok", "RealCDF/00170": "ok", "RealCDF/id0_0001": "ok",
    }  # fmt: skip
    found = read_celeb_df(data / "CDF", 4)
    assert {record.video: record.label for record in found.records} == {
        "RealCDF/00170": 0, "RealCDF/id0_0001": 0, "FakeCDF/id1_id0_0007": 1,
    }  # fmt: skip
    assert [dropped.video for dropped in found.dropped] == ["FakeCDF/gone"]
    assert run(data, "CDF", "--split", "all") == 0
    assert videos_in(data / "CDF" / "manifest.csv")["RealCDF/id9_0009"] == "ok"


@pytest.mark.parametrize("entry", ["1 ../../x.mp4", "1 /etc/x.mp4", "1 00170.mp4", "1 YouTube-real/../x.mp4"])
def test_a_list_cannot_name_other_places(root, entry, capsys):
    data, put = root
    put("CDF/YouTube-real/videos/00170.mp4", "x.mp4")
    (data / "CDF" / "List_of_testing_videos.txt").write_text(entry + "\n")
    assert run(data, "CDF") == 2
    assert "names no Celeb-DF v2 video" in capsys.readouterr().err


def test_faceshifter_takes_the_test_pairs_or_all(root):
    data, put = root
    put(*(f"FSh/c40/videos/{name}.mp4" for name in ("004_005", "005_004", "000_001")))
    assert run(data, "FSh", "--compression", "c40") == 0
    assert videos_in(data / "FSh" / "c40" / "manifest.csv") == {"004_005": "ok", "005_004": "ok"}
    assert (data / "FSh" / "c40" / "faces" / "004_005" / "0000.png").is_file()
    assert run(data, "FSh", "--compression", "c40", "--split", "all") == 0
    assert len(videos_in(data / "FSh" / "c40" / "manifest.csv")) == 3


def test_deeperforensics_takes_the_fakes_of_test_targets_or_all(root, capsys):
    data, put = root
    put(*(f"DF-1.0/videos/end_to_end/{name}.mp4" for name in ("004_W025", "000_W015")))
    assert run(data, "Deeper") == 0
    assert videos_in(data / "DF-1.0" / "manifest.csv") == {"end_to_end/004_W025": "ok"}
    assert (data / "DF-1.0" / "faces" / "end_to_end" / "004_W025" / "0000.png").is_file()
    (data / "FF++" / "test.json").unlink()
    assert run(data, "Deeper") == 2
    assert "--split all" in capsys.readouterr().err
    assert run(data, "Deeper", "--split", "all") == 0
    assert len(videos_in(data / "DF-1.0" / "manifest.csv")) == 2


def test_dfdc_takes_the_videos_of_labels_csv(root, capsys):
    data, put = root
    put(*(f"DFDC/videos/{name}.mp4" for name in ("aa", "bb", "unlisted")))
    labels = data / "DFDC" / "labels.csv"
    for text, error in (
        ("clip,label\n", "filename,label"),
        ("filename,label\naa.mp4,2\n", ":2: expected"),
        ("filename,label\n../aa.mp4,1\n", ":2: expected"),
        ("filename,label\naa.mp4,1\naa.mp4,0\n", ":3: aa.mp4 has two different labels"),
    ):
        labels.write_text(text)
        assert run(data, "DFDC") == 2
        assert error in capsys.readouterr().err
    labels.write_text("filename,label\naa.mp4,1\nbb.mp4,0\n")
    assert run(data, "DFDC") == 0
    assert videos_in(data / "DFDC" / "manifest.csv") == {"aa": "ok", "bb": "ok"}
    assert (data / "DFDC" / "faces" / "aa" / "0000.png").is_file()
    note = json.loads((data / "DFDC" / "manifest.json").read_text())
    assert (note["protocol"], note["detector"], note["retry"], note["compression"]) == ("ours", "mtcnn", 3, None)


def test_videos_lie_where_the_downloads_have_them(root, capsys):
    data, put = root
    put("CDF/Celeb-real/id0_0001.mp4", "CDF/YouTube-real/00170.mp4", "CDF/Celeb-synthesis/id1_id0_0007.mp4")
    put("FF++/manipulated_sequences/FaceShifter/c23/videos/004_005.mp4")
    put("DF-1.0/manipulated_videos/end_to_end/004_W025.mp4")
    put("DFDC/test/aa.mp4", "DFDC/test/bb.mp4")
    (data / "CDF" / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id1_id0_0007.mp4\n"
    )
    labels = {"aa.mp4": {"label": "FAKE", "original": "bb.mp4"}, "bb.mp4": {"is_fake": 0}}
    (data / "DFDC" / "test" / "metadata.json").write_text(json.dumps(labels))
    for dataset in ("CDF", "FSh", "Deeper", "DFDC"):
        assert run(data, dataset) == 0, dataset
    assert set(videos_in(data / "CDF" / "manifest.csv")) == {"RealCDF/00170", "FakeCDF/id1_id0_0007"}
    assert videos_in(data / "FSh" / "c23" / "manifest.csv") == {"004_005": "ok", "005_004": "video_missing"}
    assert videos_in(data / "DF-1.0" / "manifest.csv") == {"end_to_end/004_W025": "ok"}
    tested = {record.video: record.label for record in read_dfdc(data / "DFDC", 4).records}
    assert (
        tested
        == {"aa": 1, "bb": 0}
        == {record.video: record.label for record in read_dfdc(data / "DFDC" / "faces", 4).records}
    )
    assert run(data, "CDF", "--split", "all") == 0
    assert set(videos_in(data / "CDF" / "manifest.csv")) == {
        "RealCDF/00170",
        "RealCDF/id0_0001",
        "FakeCDF/id1_id0_0007",
    }
    capsys.readouterr()
    for dataset, folder in (("CDF", "CDF"), ("Deeper", "DF-1.0"), ("DFDC", "DFDC")):
        assert run(data / "elsewhere", dataset) == 2
        assert f"{folder} is not there; it is the folder of" in capsys.readouterr().err


def test_dfdc_videos_beside_their_labels_and_in_parts(root):
    data, put = root
    put("DFDC/train/dfdc_train_part_0/aa.mp4", "DFDC/train/dfdc_train_part_10/bb.mp4")
    for part, video, label in ((0, "aa", "FAKE"), (10, "bb", "REAL")):
        metadata = data / f"DFDC/train/dfdc_train_part_{part}/metadata.json"
        metadata.write_text(json.dumps({f"{video}.mp4": {"label": label, "split": "train"}}))
    assert run(data, "DFDC") == 0
    assert videos_in(data / "DFDC" / "manifest.csv") == {"aa": "ok", "bb": "ok"}
    assert {record.video: record.label for record in read_dfdc(data / "DFDC", 4).records} == {"aa": 1, "bb": 0}
    put("DFDC/test/cc.mp4")
    (data / "DFDC/test/labels.csv").write_text(",video,is_fake\n0,cc,1\n")  # without the ending
    assert run(data, "DFDC") == 0
    assert videos_in(data / "DFDC" / "manifest.csv")["cc"] == "ok"
    assert {record.video: record.label for record in read_dfdc(data / "DFDC", 4).records} == {"cc": 1}


def test_celeb_df_plus_and_v1_feed_the_test(root):
    data, put = root
    fakes = (
        "FaceSwap/BlendFace/id1_id0_0007",
        "FaceSwap/SimSwap/videos/id1_id0_0007",
        "TalkingFace/FLOAT/id1_0_test_id2",
    )
    put("CDF++/Celeb-real/id0_0001.mp4", *(f"CDF++/Celeb-synthesis/{video}.mp4" for video in fakes))
    (data / "CDF++" / "List_of_testing_videos.txt").write_text(
        "1 Celeb-real/id0_0001.mp4\n"
        "0 Celeb-synthesis/FaceSwap/BlendFace/id1_id0_0007.mp4\n0 Celeb-synthesis/FaceSwap/SimSwap/id1_id0_0007.mp4\n"
    )
    assert run(data, "CDFpp") == 0
    tested = {"RealCDF/id0_0001", "BlendFace/id1_id0_0007", "SimSwap/id1_id0_0007"}
    assert videos_in(data / "CDF++" / "manifest.csv") == dict.fromkeys(tested, "ok")
    assert {record.video for record in read_celeb_df(data / "CDF++", 4, PLUS).records} == tested
    assert run(data, "CDFpp", "--split", "all") == 0
    assert videos_in(data / "CDF++" / "manifest.csv") == dict.fromkeys({*tested, "FLOAT/id1_0_test_id2"}, "ok")
    put("CDFv1/Celeb-synthesis/id1_id0_0007.mp4", "CDFv1/YouTube-real/00170.mp4")
    assert run(data, "CDFv1", "--split", "all") == 0
    assert videos_in(data / "CDFv1" / "manifest.csv") == {"FakeCDF/id1_id0_0007": "ok", "RealCDF/00170": "ok"}


def test_deepfakedetection_has_a_manifest_for_each_class(root, capsys):
    data, put = root
    actors, fakes = (dfd_dirs(data, "c40")[method] for method in ("real", DFD))
    put(actors.relative_to(data) / "videos/24__kitchen_pan.mp4")
    assert run(data, "DFD", "--compression", "c40") == 2
    assert "no .mp4 file in" in capsys.readouterr().err
    put(fakes.relative_to(data) / "videos/24_23__kitchen_pan__YVGY8LOK.mp4")
    assert run(data, "DFD", "--compression", "c40") == 0
    assert videos_in(actors / "manifest.csv") == {"24__kitchen_pan": "ok"}
    assert videos_in(fakes / "manifest.csv") == {"24_23__kitchen_pan__YVGY8LOK": "ok"}
    assert json.loads((fakes / "manifest.json").read_text())["compression"] == "c40"


def test_limit_counts_each_class(root):
    data, put = root
    put(*(f"DFDC/videos/{name}.mp4" for name in "abcd"))
    (data / "DFDC" / "labels.csv").write_text("filename,label\na.mp4,1\nb.mp4,1\nc.mp4,0\nd.mp4,0\n")
    assert run(data, "DFDC", "--limit", "1") == 0
    assert set(videos_in(data / "DFDC" / "manifest.csv")) == {"a", "c"}
