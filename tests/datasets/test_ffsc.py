import pytest

from datasets.readers import ffsc
from models.label_tree import FFSC
from utils.cli import UserError

AGE, SMILE, SURPRISE = "110000100001", "101000001100", "101000101111"
GENDER, IDENTITY, POSE = "120110111101", "120010111111", "100001111111"
CODES = {
    "Real": "000000000000",
    "BlendFace": IDENTITY,
    "diffae-age": AGE,
    "diffae-gender": GENDER,
    "fomm-expr": SURPRISE,
    "fomm-pose": POSE,
    "fsgan": IDENTITY,
    "simswap": IDENTITY,
    "StyleGAN2_dis-gender": GENDER,
    "StyleRes-age": AGE,
    "StyleRes-expr": SMILE,
    "TPS-pose": POSE,
}
PROTOCOL1 = {
    "Real": "000000000000",
    "FNeVR": POSE,
    "HFGI-age": AGE,
    "HFGI-smile": SMILE,
    "InfoSwap": IDENTITY,
    "StyleCLIP-gender": GENDER,
}


def add(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def codes(records):
    """Folder below the split -> codes of its records."""
    return {record.path.split("/")[-2]: record.code for record in records}


def file_name(folder):
    return "a_0001_surprised.png" if folder.lower().startswith("fomm-expr") else "a_0001.png"


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_folder_has_its_code(tmp_path, split):
    add(tmp_path, *(f"FFSC/{ffsc.FOLDERS[split]}/{folder}/{file_name(folder)}" for folder in CODES))
    records = ffsc.read_ffsc(tmp_path, split)[split]
    assert codes(records) == CODES
    assert {record.method for record in records} == {"real", *ffsc.METHODS}
    for record in records:
        assert record.label == int(record.method != "real") == FFSC.encode(record.code)[0]
        assert record.video == record.path


def test_every_folder_of_protocol_1_has_its_code(tmp_path):
    add(tmp_path, *(f"Test/Protocol-1/{folder}/a.png" for folder in PROTOCOL1), "Test/Real/b.png")
    lists = ffsc.read_ffsc(tmp_path, "test")
    assert lists.keys() == {"test_protocol1"}
    assert codes(lists["test_protocol1"]) == PROTOCOL1
    assert not any(record.path.endswith("b.png") for record in lists["test_protocol1"])


def test_both_test_lists_share_the_reals_of_test(tmp_path):
    add(tmp_path, "Test/Real/x/b.png", "Test/Protocol-1/FNeVR/a.png")
    assert {name: len(records) for name, records in ffsc.read_ffsc(tmp_path, "test").items()} == {"test_protocol1": 2}
    add(tmp_path, "Test/fsgan/a.png")
    lists = ffsc.read_ffsc(tmp_path, "test")
    assert {name: [record.method for record in records] for name, records in lists.items()} == {
        "test": ["real", "fsgan"],
        "test_protocol1": ["FNeVR", "real"],
    }


def test_names_match_in_any_case_and_with_what_was_changed(tmp_path):
    fakes = ("blendface", "FSGAN-identity", "stylegan2-dis_gender", "FOMM-EXPR")
    add(tmp_path, *(f"train/{folder}/{file_name(folder)}" for folder in fakes), "train/REAL/a.png")
    found = codes(ffsc.read_ffsc(tmp_path, "train")["train"])
    assert found == dict(zip((*fakes, "REAL"), (IDENTITY, IDENTITY, GENDER, SURPRISE, CODES["Real"]), strict=True))
    add(tmp_path, "Test/Real/a.png", "Test/protocol-1/FNeVR_pose/a.png", "Test/protocol-1/InfoSwap-identity/a.png")
    found = codes(ffsc.read_ffsc(tmp_path, "test")["test_protocol1"])
    assert (found["FNeVR_pose"], found["InfoSwap-identity"]) == (POSE, IDENTITY)


@pytest.mark.parametrize(
    ("folder", "known"),
    [("Train/FNeVR", "TPS-pose"), ("Train/simswap-age", "simswap"), ("Train/Protocol-1", "fsgan"),
     ("Test/Protocol-2", "fsgan"), ("Test/Protocol-1/fsgan", "InfoSwap"), ("Train/StyleRes", "StyleRes-expr")],
)  # fmt: skip
def test_unknown_folders_are_refused_with_the_names_that_are_known(tmp_path, folder, known):
    add(tmp_path, f"{folder}/a.png", "Train/Real/a.png", "Train/fsgan/a.png", "Test/Real/a.png")
    with pytest.raises(UserError) as error:
        ffsc.read_ffsc(tmp_path, folder.split("/")[0].lower())
    parent, _, name = folder.rpartition("/")
    assert f"{tmp_path / parent} has {name}, folders" in str(error.value) and known in str(error.value)


def test_images_at_any_depth_and_nothing_else(tmp_path):
    add(tmp_path, "Train/Real/AVSpeech/v 1/0037.PNG", "Train/Real/b.jpeg", "Train/Real/notes.txt", "Train/readme.md")
    add(tmp_path, "Train/Real/.thumbs/a.png", "Train/Real/.a.png", "Train/.cache/a.png", "Train/TPS-pose/pose/a.tiff")
    names = [record.path for record in ffsc.read_ffsc(tmp_path, "train")["train"]]
    wanted = ("Real/AVSpeech/v 1/0037.PNG", "Real/b.jpeg", "TPS-pose/pose/a.tiff")
    assert names == [f"{tmp_path}/Train/{name}" for name in wanted]


def test_an_expression_that_is_not_known_is_refused(tmp_path):
    add(tmp_path, "Train/Real/a.png", "Train/fomm-expr/a_0001_smile.png")
    with pytest.raises(UserError, match=r"a_0001_smile\.png: 1 of \d images of fomm-expr do not end in _surprised"):
        ffsc.read_ffsc(tmp_path, "train")


def test_missing_folders_and_classes_are_named(tmp_path):
    with pytest.raises(UserError, match="FFSC/Train is missing"):
        ffsc.read_ffsc(tmp_path, "train")
    add(tmp_path, "FFSC/Train/Real/a.png", "FFSC/Test/Protocol-1/FNeVR/a.png")
    (tmp_path / "FFSC" / "Val" / "Real").mkdir(parents=True)
    for split, what in (("train", "fake image under .*Train"), ("val", "real image under .*Val"),
                        ("test", "real image under .*Protocol-1")):  # fmt: skip
        with pytest.raises(UserError, match=f"no {what}"):
            ffsc.read_ffsc(tmp_path, split)


def test_all_unknown_folders_are_named_at_once(tmp_path):
    add(tmp_path, "Train/Real/a.png", "Train/simswap/a.png", "Train/sim_swap2/a.png", "Train/mine/a.png")
    with pytest.raises(
        UserError, match=r"Train has mine, sim_swap2, folders of no known method; known here are Real, Bl"
    ):
        ffsc.read_ffsc(tmp_path, "train")
