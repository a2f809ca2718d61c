"""make_lists.py on what people have: DeepfakeBench and DF40 JSON, CSV, class folders. A list needs only names."""

import json
from collections import Counter
from pathlib import Path

import pytest

from datasets.readers.txt_list import read_txt_list
from models.label_tree import FFPP
from preprocessing import make_lists
from preprocessing.lists.method_codes import EXPRESSION, GROUPS, IDENTITY, UNKNOWN_FAKE, codes_of_fakes
from preprocessing.lists.splitting import Sample, check_disjoint, draw_splits, shown
from tests.conftest import ROOT
from utils.cli import UserError

REAL = "1000000000"
# The fakes of the label dictionaries of DeepfakeBench and DF40.
DICTIONARY = {
    IDENTITY: "DFD_fake FF-SH FF-DF FF-FS FF-FH CelebDFv1_fake CelebDFv2_fake DFDCP_FakeA DFDCP_FakeB DFDC_Fake "
    "DF_fake UADFV_Fake roop_Fake FSAll_Fake e4s_Fake deepfacelab_Fake facedancer_Fake fsgan_Fake inswap_Fake "
    "simswap_Fake uniface_Fake blendface_Fake mobileswap_Fake faceswap_Fake",
    EXPRESSION: "FF-F2F FF-NT FRAll_Fake danet_Fake fomm_Fake hyperreenact_Fake MRAA_Fake one_shot_free_Fake "
    "pirender_Fake tpsm_Fake facevid2vid_Fake mcnet_Fake lia_Fake mraa_Fake sadtalker_Fake wav2lip_Fake heygen_Fake",
    UNKNOWN_FAKE: "EFSAll_Fake MidJourney_Fake e4e_Fake dalle2_face_Fake whichisreal_Fake StyleGAN2_Fake "
    "StyleGAN3_Fake StyleGANXL_Fake ddim_Fake DiT_Fake pixart_Fake SiT_Fake sd1.5_Fake sd2.1_Fake VQGAN_Fake "
    "stargan_Fake starganv2_Fake styleclip_Fake CollabDiff_Fake Collaborative_Diffusion_Fake rddm_Fake DF40_train_Fake "
    "adm_Fake biggan_Fake glide_Fake midjourney_Fake sdv4_Fake sdv5_Fake vqdm_Fake wukong_Fake",
}


def run(*words):
    return make_lists.main([str(word) for word in words])


def lists(folder):
    """Name of each list -> [(path, code)]."""
    return {
        path.stem: [tuple(line.rsplit(" ", 1)) for line in path.read_text().splitlines()]
        for path in sorted(folder.glob("*.txt"))
    }


def parts(folder):
    """Name of each list -> {the video's folder and its parent: code}."""
    return {
        name: {"/".join(Path(path).parts[-3:-1]): code for path, code in lines} for name, lines in lists(folder).items()
    }


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def bench(tmp_path):
    """Write a DeepfakeBench JSON and its frames: label -> split -> videos, 3 frames each."""

    def write(labels, name="set", compression="c23", folders=None):
        content = {}
        for label, splits in labels.items():
            for split, videos in splits.items():
                entries = {}
                for video in videos:
                    frames = [f"{(folders or {}).get(label, label)}/{video}/{i:03d}.png" for i in range(3)]
                    touch(*(tmp_path / "root" / frame for frame in frames))
                    entries[video] = {"label": label, "frames": frames}
                videos = {compression: entries} if compression else entries
                content.setdefault(label, {})[split] = videos
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({name: content}))
        return path

    return write


@pytest.mark.parametrize("code", GROUPS)
def test_every_fake_label_of_the_benchmarks_has_its_code(code):
    names = DICTIONARY[code].split()
    assert codes_of_fakes(names, {}) == dict.fromkeys(names, code)
    assert codes_of_fakes(map(str.upper, names), {}) == dict.fromkeys(map(str.upper, names), code)


def test_the_40_methods_of_df40_are_in_the_table_of_the_docs():
    groups = {group: set(methods) for by_group in GROUPS.values() for group, methods in by_group.items()}
    numbers = [len(groups[f"DF40, {kind}"] - {"FSAll", "FRAll", "EFSAll"}) for kind in (
        "face swapping", "face reenactment", "entire face synthesis", "face edit")]  # fmt: skip
    assert numbers == [10, 13, 12, 5]
    section = (ROOT / "docs/data.md").read_text().partition("### Codes of methods")[2].partition("\n## ")[0]
    for code, by_group in GROUPS.items():
        for group, methods in by_group.items():
            names = ", ".join(f"`{method}`" for method in methods)
            assert f"| `{code}` | {group} | {names} |" in section or methods.keys() == {"fake"}


def test_no_name_has_two_codes():
    named = [
        (name, code)
        for code, by_group in GROUPS.items()
        for methods in by_group.values()
        for method, others in methods.items()
        for name in (method, *others)
    ]
    assert codes_of_fakes([name for name, _ in named], {}) == dict(named)


def test_the_unknown_code_says_fake_and_nothing_else():
    assert FFPP.encode(UNKNOWN_FAKE).tolist() == [1.0] + [2.0] * 9
    assert FFPP.root_only.encode(UNKNOWN_FAKE).tolist() == [1.0]
    assert UNKNOWN_FAKE not in FFPP.to_dict()["codes"]  # checkpoints keep their tree


def test_json_keeps_its_splits_and_gets_codes_by_label(bench, tmp_path, capsys):
    fakes = {"train": ["000_003", "003_000"], "val": ["100_101"], "test": ["200_201"]}
    reals = {"train": ["000", "003"], "val": ["100", "101"], "test": ["200", "201"]}
    file = bench({"FF-real": reals, "FF-DF": fakes, "FF-NT": fakes})
    out = tmp_path / "out"
    assert run("--dataset", "json", "--datapath", file, "--data_root", tmp_path / "root", "--output", out) == 0
    assert parts(out)["val"] == {
        "FF-real/100": REAL,
        "FF-real/101": REAL,
        "FF-DF/100_101": IDENTITY,
        "FF-NT/100_101": EXPRESSION,
    }
    numbers = Counter(code for _, code in lists(out)["train"])
    assert numbers == {REAL: 6, IDENTITY: 3, EXPRESSION: 3}  # balanced
    recipe = json.loads((out / "train.recipe.json").read_text())
    assert recipe["drawn_splits"] == {} and recipe["methods"] == {"real": 6, "FF-DF": 3, "FF-NT": 3}
    assert "train: 12 of 18 images are listed" in capsys.readouterr().out
    assert len(read_txt_list(out / "train.txt", FFPP).records) == 12


def test_several_df40_files_share_their_reals(bench, tmp_path, capsys):
    files = []
    for method, code_videos in {"simswap": ["000_003"], "fomm": ["003_000"]}.items():
        labels = {f"{method}_Real": ["000", "003"], f"{method}_Fake": code_videos}
        labels = {label: {"train": videos, "test": [f"9{v[1:]}" for v in videos]} for label, videos in labels.items()}
        files.append(bench(labels, f"{method}_ff", None, {f"{method}_Real": "reals"}))
    out = tmp_path / "out"
    root = tmp_path / "root"
    words = ["--dataset", "json", "--datapath", *files, "--data_root", root, "--balance", "none", "--output", out]
    assert run(*words, "--split", "train", "test", "--val_share", 0) == 0
    assert parts(out)["train"] == {
        "reals/000": REAL,
        "reals/003": REAL,
        "simswap_Fake/000_003": IDENTITY,
        "fomm_Fake/003_000": EXPRESSION,
    }
    assert "left out: 12 x duplicate" in capsys.readouterr().out


def test_a_method_without_a_code_is_named_counted_and_can_be_given_one(bench, tmp_path, capsys):
    videos = {split: [f"{split}{i}" for i in range(2)] for split in ("train", "val", "test")}
    file = bench({"FF-real": videos, "NewSwap_Fake": {"train": ["a"], "val": ["b"], "test": ["c"]}})
    words = ["--dataset", "json", "--datapath", file, "--data_root", tmp_path / "root", "--output", tmp_path / "out"]
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert "no list code is known for the method NewSwap_Fake (9 images); give --codes FILE" in said
    codes = tmp_path / "codes.txt"
    codes.write_text("# mine\nnewswap 0101011111  # a swap\n\n")
    assert run(*words, "--codes", codes) == 0
    assert parts(tmp_path / "out")["test"]["NewSwap_Fake/c"] == IDENTITY
    for wrong, said in {
        "newswap 0101": "codes.txt:1: code '0101' does not fit the ffpp tree",
        "newswap 1000000000": "codes.txt:1: expected `method code` with the code of a fake",
        "0101011111": "codes.txt:1: expected `method code`",
    }.items():
        codes.write_text(wrong)
        assert run(*words, "--codes", codes) == 2
        assert said in capsys.readouterr().err


def test_splits_of_a_source_that_share_videos_are_refused_with_the_remedy(bench, tmp_path, capsys):
    """Celeb-DF's validation videos are its test videos in DeepfakeBench."""
    real = {"train": ["id0_0000", "id1_0000", "id2_0000"], "val": ["id3_0000"], "test": ["id3_0000"]}
    fake = {"train": ["id0_id1_0000", "id1_id0_0000"], "val": ["id3_id2_0000"], "test": ["id3_id2_0000"]}
    file = bench({"CelebDFv2_real": real, "CelebDFv2_fake": fake}, "Celeb-DF-v2", None)
    words = ["--dataset", "json", "--datapath", file, "--data_root", tmp_path / "root", "--output", tmp_path / "out"]
    assert run(*words) == 2
    assert "is in val and in test, but an image belongs to one split; give --resplit, or" in capsys.readouterr().err
    assert run(*words, "--split", "train", "val") == 0
    assert "note: 1 persons or source videos, such as Celeb-DF id2, are in several splits" in capsys.readouterr().out
    assert sorted(lists(tmp_path / "out")) == ["train", "val"]


def test_csv_column_split_and_missing_images(tmp_path, capsys):
    rows = ["Path,LABEL,video,method,Split"]
    for split in ("train", "validation", "test"):
        for video, method in (("a", "real"), ("b", "Face2Face"), ("b", "deepfakes")):
            image = f"{split}/{method}/{video}/0.png"
            touch(tmp_path / image)
            rows.append(f"{image},{'real' if method == 'real' else 'fake'},{split}{video},{method},{split}")
    rows.append("train/gone/0.png,1,g,FaceSwap,train")
    (tmp_path / "l.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    words = ["--dataset", "csv", "--datapath", tmp_path / "l.csv", "--output", out]
    assert run(*words, "--balance", "none") == 0
    assert parts(out)["val"] == {"real/a": REAL, "Face2Face/b": EXPRESSION, "deepfakes/b": IDENTITY}
    assert "left out: 1 x missing_file, such as" in capsys.readouterr().out
    (tmp_path / "l.csv").write_text("\n".join(rows).replace(",test", ",holdout") + "\n")
    assert run(*words) == 2
    assert "'holdout' is no name of a split; call it train, val or test" in capsys.readouterr().err


def test_drawn_splits_are_whole_pairs_seeded_and_complete(tmp_path, capsys):
    rows = ["path,label,video,method"]
    pairs = [(f"{2 * i:03d}", f"{2 * i + 1:03d}") for i in range(20)]
    for a, b in pairs:
        for video, method in ((a, "real"), (b, "real"), (f"{a}_{b}", "DF"), (f"{b}_{a}", "DF"), (f"{a}_{b}", "NT")):
            image = tmp_path / method / video / "0.png"
            touch(image)
            rows.append(f"{image},{int(method != 'real')},{video},{method}")
    (tmp_path / "l.csv").write_text("\n".join(rows) + "\n")
    words = ["--dataset", "csv", "--datapath", tmp_path / "l.csv"]
    all_images = ("--balance", "none")
    runs = {"one": all_images, "two": all_images, "other": (*all_images, "--seed", 1), "alone": ("--split", "val")}
    for name, more in runs.items():
        assert run(*words, "--output", tmp_path / name, *more) == 0
    assert "the splits share no video, nor a person or source video that names tell\n" in capsys.readouterr().out
    found = {name: lists(tmp_path / name) for name in ("one", "two", "other", "alone")}
    assert found["one"] == found["two"] != found["other"]
    assert found["alone"] == {"val": found["one"]["val"]}
    sizes = {name: len(lines) for name, lines in found["one"].items()}
    assert sizes == {"train": 80, "val": 10, "test": 10}
    split_of = {}
    for name, lines in found["one"].items():
        for path, _ in lines:
            for source in Path(path).parent.name.split("_"):
                assert split_of.setdefault(source, name) == name
    assert len(split_of) == 40


def test_celeb_df_is_drawn_by_target_person_because_swaps_link_all_persons():
    samples = []
    for a in range(30):
        samples += [Sample(f"r{a}_{i}", 0, "real", f"real/id{a}_{i:04d}", "train") for i in range(3)]
        samples += [Sample(f"f{a}_{b}", 1, "x", f"fake/id{a}_id{b}_0000", "train") for b in range(30) if b != a]
    drawn, rule = draw_splits(samples, {"val": 0.1, "test": 0.1}, 0)
    assert rule == "video, nor a target person or video that names tell"
    persons = {split: {shown(s.video)[0] for s in drawn if s.split == split} for split in ("train", "val", "test")}
    assert [len(found) for found in persons.values()] == [24, 3, 3]
    assert "are in several splits" in check_disjoint(drawn)  # the source persons, which is said


def test_images_without_videos_are_split_by_folder_or_one_by_one():
    by_folder = [Sample(f"{label}/{v}/{i}.png", label, "", f"{label}/{v}/{i}.png", "train")
                 for label in (0, 1) for v in range(10) for i in range(4)]  # fmt: skip
    drawn, _ = draw_splits(by_folder, {"val": 0.2}, 0)
    folders = {split: {s.path.rpartition("/")[0] for s in drawn if s.split == split} for split in ("train", "val")}
    assert not folders["train"] & folders["val"] and len(folders["val"]) == 4
    flat = [Sample(f"{label}/{i}.png", label, "", f"{label}/{i}.png", "train") for label in (0, 1) for i in range(20)]
    drawn, rule = draw_splits(flat, {"val": 0.1}, 0)
    assert rule.startswith("image ") and sum(s.split == "val" for s in drawn) == 4
    with pytest.raises(UserError, match="1 real and 1 fake videos are too few"):
        draw_splits([flat[0], flat[-1]], {"val": 0.1}, 0)


def test_folders_of_splits(tmp_path, capsys):
    for split, videos in {"train": 12, "Valid": 2, "test": 2}.items():
        touch(
            *(
                tmp_path / "set" / split / c / f"{split}{c}{v}" / "0.png"
                for c in ("real", "fake")
                for v in range(videos)
            )
        )
    touch(tmp_path / "set" / "extra" / "0.png")
    out = tmp_path / "out"
    assert run("--dataset", "folder", "--datapath", tmp_path / "set", "--output", out) == 0
    assert {name: len(lines) for name, lines in lists(out).items()} == {"train": 24, "val": 4, "test": 4}
    assert {code for _, code in lists(out)["val"]} == {REAL, UNKNOWN_FAKE}
    assert "not read, beside Valid, test, train: extra" in capsys.readouterr().out


def test_a_split_that_the_source_lacks_is_drawn_from_train(tmp_path):
    for split, videos in {"train": 20, "test": 3}.items():
        touch(
            *(
                tmp_path / "set" / split / c / f"{split}{c}{v}" / "0.png"
                for c in ("real", "fake")
                for v in range(videos)
            )
        )
    words = ["--dataset", "folder", "--datapath", tmp_path / "set"]
    assert run(*words, "--output", tmp_path / "out") == 0
    assert {name: len(lines) for name, lines in lists(tmp_path / "out").items()} == {"train": 36, "val": 4, "test": 6}
    assert all("/train/" in path for path, _ in lists(tmp_path / "out")["val"])
    assert run(*words, "--resplit", "--val_share", 0.5, "--test_share", 0, "--output", tmp_path / "new") == 0
    assert {name: len(lines) for name, lines in lists(tmp_path / "new").items()} == {"train": 22, "val": 24}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dataset", "json"], "--dataset json needs --datapath"),
        (["--dataset", "FFpp", "--datapath", "x"], "--datapath does not go with --dataset FFpp"),
        (["--dataset", "csv", "--datapath", "x", "--expansion"], "--expansion does not go with --dataset csv"),
        (
            ["--dataset", "csv", "--datapath", "x", "--val_share", "0.5", "--test_share", "0.5"],
            "leave nothing to train",
        ),
        (["--dataset", "parquet", "--datapath", "x"], "--dataset parquet needs --images_to"),
        (["--dataset", "csv", "--datapath", "x", "--images_to", "y"], "--images_to does not go with --dataset csv"),
    ],
)
def test_wrong_arguments(words, said, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(*words, "--output", tmp_path)
    assert said in capsys.readouterr().err


def test_a_class_that_is_lacking_and_images_that_do_not_exist(bench, tmp_path, capsys):
    file = bench({"simswap_Fake": {"train": ["000_003", "004_005", "006_007"]}})
    words = ["--dataset", "json", "--datapath", file, "--output", tmp_path / "out"]
    assert run(*words, "--data_root", tmp_path / "root") == 2
    assert "the train split has no real image; give a source of them as one more --datapath" in capsys.readouterr().err
    assert run(*words, "--data_root", tmp_path / "elsewhere") == 2
    assert "none of the 9 listed images exists" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def split_csv(folder, rows):
    """A CSV of (image, label, split); the images exist."""
    touch(*(folder / image for image, *_ in rows))
    path = folder / "l.csv"
    path.write_text("path,label,split\n" + "".join(f"{','.join(row)}\n" for row in rows))
    return path


def test_folders_with_images_in_several_splits_are_told(tmp_path, capsys):
    rows = [
        (f"{kind}/v/{i}.png", kind, split) for kind in ("real", "fake") for i, split in enumerate(("train", "test"))
    ]
    path = split_csv(tmp_path, rows)
    assert run("--dataset", "csv", "--datapath", path, "--output", tmp_path / "out", "--val_share", "0") == 0
    assert "2 folders, such as" in (out := capsys.readouterr().out) and "name it in a column video" in out


def test_a_row_without_a_split_is_named(tmp_path, capsys):
    path = split_csv(tmp_path, [("0.png", "real", "train"), ("1.png", "fake", "")])
    assert run("--dataset", "csv", "--datapath", path, "--output", tmp_path / "out") == 2
    assert "l.csv:3: the row has no split" in capsys.readouterr().err


def test_a_split_whose_images_are_missing_is_there(bench, tmp_path, capsys):
    path = split_csv(tmp_path, [("0.png", "real", "train"), ("1.png", "fake", "train"), ("2.png", "fake", "test")])
    (tmp_path / "2.png").unlink()
    command = ("--dataset", "csv", "--datapath", path, "--output", tmp_path / "out", "--val_share", "0")
    assert run(*command, "--split", "train", "test") == 0
    assert "test: no list, none of its images is there" in capsys.readouterr().out
    assert run(*command, "--split", "test") == 2
    assert "no image of test is there; set --data_root" in capsys.readouterr().err


def test_a_list_that_is_not_ours_is_not_replaced(tmp_path, capsys):
    path = split_csv(tmp_path, [("0.png", "real", "train"), ("1.png", "fake", "train")])
    out = tmp_path / "out"
    out.mkdir()
    (out / "train.txt").write_text("mine")
    command = ("--dataset", "csv", "--datapath", path, "--output", out, "--val_share", "0", "--test_share", "0")
    assert run(*command) == 2
    assert "train.txt would be replaced, but no record of an earlier run names it" in capsys.readouterr().err
    assert (out / "train.txt").read_text() == "mine"
    (out / "train.txt").unlink()
    assert run(*command) == 0 and run(*command) == 0
