import csv
import json
import shutil
import subprocess
import sys
from collections import Counter

import cv2
import numpy as np
import pytest

from datasets.face_regions import region_mask
from datasets.readers.ffpp import METHOD_CODES, REGION_CODES, compression_dir
from preprocessing import expand_FFpp, extract_faces
from preprocessing.detection.align import similarity_matrix
from preprocessing.expansion import output
from preprocessing.expansion.blending import map_points
from preprocessing.expansion.planning import COLUMNS, make_plan, place_pair, read_crop_format
from preprocessing.expansion.preview import choose_samples
from preprocessing.extraction import manifest
from tests.conftest import ROOT
from utils.files import TEMPORARY
from utils.own_files import RECORD

POINTS = tuple(f"{point}_{axis}" for point in manifest.POINTS for axis in "xy")
IMAGES = 2 * (2 * 3 + 2 * 1)  # one pair, both directions: swaps give three regions, expression changes the mouth


@pytest.fixture
def copy(demo, tmp_path):
    """Crops and expansion, to be changed."""
    return shutil.copytree(demo, tmp_path / "data", ignore=shutil.ignore_patterns("videos"))


@pytest.fixture
def crops(demo, tmp_path):
    """Crops without expansion, to be changed."""
    return shutil.copytree(demo, tmp_path / "data", ignore=shutil.ignore_patterns("videos", "expansion"))


def folder_of(root, compression="c23", split="train"):
    return root / "FF++" / "expansion" / compression / split


def rows_of(root, *names):
    with (folder_of(root, *names) / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def files_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def times_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file() and path.name != RECORD}


def run(root, *options):
    return expand_FFpp.main(["--data_root", str(root), "--workers", "1", *options])


def points_of(row):
    return np.array([float(row[name]) for name in POINTS]).reshape(5, 2)


def load(root, row):
    """(result, real) as int arrays."""
    return (cv2.imread(str(p)).astype(int) for p in (folder_of(root) / row["path"], root / row["real"]))


def test_rows_tell_all_and_only_the_region_changed(demo):
    rows = rows_of(demo)
    target = folder_of(demo)
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == IMAGES
    assert {row["path"] for row in rows} == {p.relative_to(target).as_posix() for p in target.rglob("*.png")}
    assert {path.name for path in target.iterdir()} == {RECORD, "manifest.csv", "manifest.json", *REGION_CODES}
    for row in rows:
        assert row["path"] == f"{row['region']}/{row['method']}_{row['video']}/{int(row['frame']):04d}.png"
        assert row["code"] == REGION_CODES[row["region"]]
        assert f"/{row['video'].split('_')[0]}/{int(row['frame']):04d}.png" in row["real"]
        assert f"/{row['method']}/c23/faces/{row['video']}/{int(row['frame']):04d}.png" in row["fake"]
        assert (row["blend"], row["color_transfer"], row["donors"], row["seed"]) == ("feather", "0", "matching", "0")
        image, real = load(demo, row)
        mask = region_mask(row["region"], points_of(row), 317, float(row["grow"]), float(row["feather"]))
        assert (image == real)[mask == 0].all()
        assert np.abs(image - real)[mask > 0.5].mean() > 1
        assert (mask == 0).mean() > 0.7
    assert not folder_of(demo, split="val").exists()


def test_masks_come_from_the_landmarks_of_the_real_crop(demo):
    crops = {row["path"]: row for row in manifest.read_rows(compression_dir(demo, "real", "c23") / "manifest.csv")}
    for row in rows_of(demo):
        landmarks = manifest.landmarks_of(crops["faces/" + row["real"].split("/faces/")[1]])
        np.testing.assert_allclose(points_of(row), map_points(landmarks, similarity_matrix(landmarks)), atol=0.006)


def test_poisson_changes_nothing_outside_the_mask(crops):
    assert run(crops, "--blend", "poisson", "--color_transfer") == 0
    rows = rows_of(crops)
    assert len(rows) == IMAGES
    for row in rows:
        assert (row["blend"], row["color_transfer"], float(row["feather"])) == ("poisson", "1", 0)
        image, real = load(crops, row)
        inside = region_mask(row["region"], points_of(row), 317, float(row["grow"])) > 0.5
        assert (image == real)[~inside].all()
        assert np.abs(image - real)[inside].mean() > 1


def test_colour_transfer_brings_the_colours_nearer(crops, demo):
    assert run(crops, "--color_transfer") == 0

    def distances(root):
        for row in rows_of(root):
            image, real = load(root, row)
            inside = region_mask(row["region"], points_of(row), 317) > 0.5
            yield np.abs(image[inside].mean(axis=0) - real[inside].mean(axis=0)).mean()

    assert np.mean(list(distances(crops))) < 0.8 * np.mean(list(distances(demo)))


@pytest.mark.parametrize("options", [["--color_transfer"], ["--blend", "poisson"]])
def test_the_images_do_not_depend_on_the_number_of_processes(crops, options):
    assert run(crops, *options) == 0
    one = files_of(folder_of(crops))
    shutil.rmtree(folder_of(crops))
    assert expand_FFpp.main(["--data_root", str(crops), "--workers", "2", *options]) == 0
    assert files_of(folder_of(crops)) == one


def test_the_seed_draws_frames_and_masks_and_a_subset_draws_alike(crops, demo):
    assert run(crops, "--regions", "mouth", "nose", "--per_video", "2") == 0
    both = {row["path"]: row for row in rows_of(crops)}
    assert Counter(row["region"] for row in both.values()) == {"nose": 8, "mouth": 16}
    for row in rows_of(demo):
        if row["region"] != "eyes":
            assert both[row["path"]] == row
    assert run(crops, "--overwrite", "--seed", "1") == 0
    grows = [{row["path"]: row["grow"] for row in rows_of(root)} for root in (crops, demo)]
    assert grows[0].keys() != grows[1].keys()  # other frames
    assert all(grow != grows[1].get(path) for path, grow in grows[0].items())


def test_any_method_may_give_every_region(crops, demo):
    assert run(crops, "--donors", "any") == 0
    rows = rows_of(crops)
    assert Counter((row["method"], row["region"]) for row in rows) == {
        (method, region): 2 for method in METHOD_CODES for region in REGION_CODES
    }
    assert {row["donors"] for row in rows} == {"any"}
    matching = {(row["method"], row["region"]) for row in rows_of(demo)}
    assert matching == {
        (m, r) for m in METHOD_CODES for r in REGION_CODES if r == "mouth" or m in ("Deepfakes", "FaceSwap")
    }


def test_a_second_run_makes_nothing(copy, capsys):
    before = times_of(folder_of(copy))
    assert run(copy) == 0
    assert times_of(folder_of(copy)) == before
    assert f"{IMAGES} images (4 eyes, 4 nose, 8 mouth)" in (printed := capsys.readouterr().out)
    assert "0 of them new" in printed


def test_a_second_run_makes_what_is_missing_and_clears_leftovers(copy, capsys):
    target = folder_of(copy)
    before, times = files_of(target), times_of(target)
    lost = target / rows_of(copy)[3]["path"]
    lost.unlink()
    stale = target / "eyes" / "stale" / "0000.png"  # of an earlier plan
    stale.parent.mkdir()
    stale.touch()
    rows = rows_of(copy)
    manifest.write_rows(target / "manifest.csv", [*rows, rows[0] | {"path": "eyes/stale/0000.png"}], COLUMNS)
    (lost.parent / f"{TEMPORARY}abc.png").write_bytes(b"half")
    assert run(copy) == 0
    assert "1 of them new" in capsys.readouterr().out
    assert files_of(target) == before
    assert not (target / "eyes" / "stale").exists()
    after = times_of(target)
    images = {path for path in times if path.suffix == ".png"}
    assert {path for path in images if after[path] != times[path]} == {lost}


def test_an_image_whose_row_changed_is_made_again(copy, demo):
    target = folder_of(copy)
    table = target / "manifest.csv"
    rows = rows_of(copy)
    manifest.write_rows(table, [rows[0] | {"grow": "0.5"}, *rows[1:]], COLUMNS)
    (target / rows[0]["path"]).write_bytes(b"other")
    assert run(copy) == 0
    assert files_of(target) == files_of(folder_of(demo))


def test_images_that_no_expansion_made_stay(copy, demo, capsys):
    target = folder_of(copy)
    rows = rows_of(copy)
    manifest.write_rows(target / "manifest.csv", [*rows[:-1], rows[0] | {"path": "../../mine.png"},
        rows[0] | {"path": "eyes/../mine.png"}], COLUMNS)  # fmt: skip
    mine = [target / "eyes" / "mine" / "0000.png", target / rows[0]["path"].replace(".png", "0.png")]
    mine += [target / rows[-1]["path"], target.parent.parent / "mine.png", target / "mine.png"]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    for more in ((), ("--overwrite",)):
        assert run(copy, *more) == 2
        assert f"{mine[2]} would be replaced, but no expansion made it" in capsys.readouterr().err
    mine.pop(2).unlink()
    for more in ((), ("--overwrite",)):
        assert run(copy, *more) == 0
        assert all(path.read_text() == "mine" for path in mine)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_a_stopped_run_leaves_whole_images_and_goes_on_where_it_was(crops, demo, monkeypatch, stop):
    target, made = folder_of(crops), []

    def stopping(job):
        if len(made) == 5:
            raise stop
        made.append(job.path)
        return make_image(job)

    make_image = output.make_image
    monkeypatch.setattr(output, "make_image", stopping)
    if stop is KeyboardInterrupt:
        assert run(crops) == 130
    else:
        with pytest.raises(OSError):
            run(crops)
    assert sorted(target.rglob("*.png")) == sorted(made)
    assert not (target / "manifest.csv").exists()
    times = {path: path.stat().st_mtime_ns for path in made}
    monkeypatch.setattr(output, "make_image", make_image)
    assert run(crops) == 0
    assert files_of(target) == files_of(folder_of(demo))
    assert {path: path.stat().st_mtime_ns for path in made} == times


def test_other_options_are_refused_unless_overwritten(copy, capsys):
    before = times_of(folder_of(copy))
    for options, words in (
        (["--seed", "1"], "seed 0 there, 1 now"),
        (["--blend", "poisson"], "blend feather there, poisson now"),
        (["--color_transfer"], "color_transfer False there, True now"),
        (["--donors", "any"], "donors matching there, any now"),
        (["--per_video", "2"], "per_video 1 there, 2 now"),
        (["--regions", "nose"], "now"),
    ):
        assert run(copy, *options) == 2
        error = capsys.readouterr().err
        assert words in error
        assert "--overwrite" in error
        assert error.count("\n") == 1
    assert times_of(folder_of(copy)) == before
    assert run(copy, "--regions", "nose", "--overwrite") == 0
    assert {row["region"] for row in rows_of(copy)} == {"nose"}
    assert {path.name for path in folder_of(copy).rglob("*.png")} <= {"0000.png", "0003.png"}
    assert not list((folder_of(copy) / "eyes").rglob("*.png"))
    note = json.loads((folder_of(copy) / "manifest.json").read_text())
    assert (note["regions"], note["compression"], note["size"], note["scale"]) == (["nose"], "c23", 317, 1.3)


def test_foreign_files_are_not_touched(crops, capsys):
    mine = folder_of(crops) / "eyes" / "x" / "0000.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    assert run(crops, "--overwrite") == 2
    assert "no expansion made" in capsys.readouterr().err
    assert mine.read_bytes() == b"mine"


def test_compressions_and_splits_keep_apart(copy):
    before = files_of(folder_of(copy))
    for method in ("real", *METHOD_CODES):
        c23 = compression_dir(copy, method, "c23")
        shutil.copytree(c23, c23.parent / "c40")
    assert run(copy, "--compression", "c40", "--split", "train", "val") == 0
    assert files_of(folder_of(copy)) == before
    for split in ("train", "val"):
        rows = rows_of(copy, "c40", split)
        assert len(rows) == IMAGES
        assert all("/c40/" in row["real"] and "/c40/" in row["fake"] for row in rows)


def test_ffpp_itself_as_data_root(copy, capsys):
    assert run(copy / "FF++") == 0
    assert "0 of them new" not in capsys.readouterr().out  # the rows' paths are relative to another folder
    rows = rows_of(copy)
    assert all((copy / "FF++" / row["real"]).is_file() for row in rows)


def test_crops_may_be_jpegs(crops):
    root = compression_dir(crops, "real", "c23")
    rows = manifest.read_rows(root / "manifest.csv")
    for row in rows:
        path = root / row["path"]
        cv2.imwrite(str(path.with_suffix(".jpg")), cv2.imread(str(path)))
        path.unlink()
        row["path"] = row["path"].replace(".png", ".jpg")
    manifest.write_rows(root / "manifest.csv", rows)
    assert run(crops, "--regions", "nose") == 0
    assert all(row["real"].endswith(".jpg") and row["path"].endswith(".png") for row in rows_of(crops))


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "smaller"])
def test_an_unreadable_crop_is_left_out_and_tried_again(crops, demo, capsys, damage):
    row = next(row for row in rows_of(demo) if row["region"] == "mouth" and row["method"] == "Face2Face")
    crop = crops / row["fake"]
    content = crop.read_bytes()
    if damage == "missing":
        crop.unlink()
    elif damage == "smaller":
        cv2.imwrite(str(crop), np.zeros((112, 112, 3), np.uint8))
    else:
        crop.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
    assert run(crops) == 0
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert len(error) == 1
    assert "1 images left out" in error[0]
    assert row["fake"] in error[0]
    assert [other["path"] for other in rows_of(crops)] == [o["path"] for o in rows_of(demo) if o["path"] != row["path"]]
    assert not (folder_of(crops) / row["path"]).exists()
    crop.write_bytes(content)
    assert run(crops) == 0
    assert "1 of them new" in capsys.readouterr().out
    assert files_of(folder_of(crops)) == files_of(folder_of(demo))


def test_missing_crops_and_other_faces_are_counted(crops, capsys):
    # Deepfakes: no crops at all; Face2Face 000_001: none; FaceSwap 000_001: frame 0 shows another face
    (compression_dir(crops, "Deepfakes", "c23") / "manifest.csv").unlink()
    for method in ("Face2Face", "FaceSwap"):
        path = compression_dir(crops, method, "c23") / "manifest.csv"
        rows = manifest.read_rows(path)
        if method == "Face2Face":
            rows = [row for row in rows if row["video"] != "000_001"]
        for row in rows:
            if method == "FaceSwap" and (row["video"], row["frame"]) == ("000_001", "0"):
                row |= {f"{point}_x": str(float(row[f"{point}_x"]) + 60) for point in manifest.POINTS}
        manifest.write_rows(path, rows)
    assert run(crops) == 0
    printed = capsys.readouterr().out
    assert "3 fake videos have no crop" in printed
    assert "1 frames show another face" in printed
    rows = rows_of(crops)
    assert Counter(row["method"] for row in rows) == {"FaceSwap": 6, "NeuralTextures": 2, "Face2Face": 1}
    assert {row["frame"] for row in rows if (row["method"], row["video"]) == ("FaceSwap", "000_001")} == {"3"}


def test_nothing_to_make_is_an_error_of_one_line(raw_demo, crops, capsys):
    assert expand_FFpp.main(["--data_root", str(raw_demo)]) == 2
    assert "extract_faces.py" in capsys.readouterr().err
    for path in crops.rglob("*.png"):
        path.write_bytes(b"no picture")
    assert run(crops) == 2
    error = capsys.readouterr().err
    assert f"{IMAGES} images left out" in error
    assert "nothing could be made" in error
    assert not (folder_of(crops) / "manifest.csv").exists()


def test_preview_shows_samples_of_all_regions_and_methods(copy, tmp_path, capsys):
    times = times_of(folder_of(copy))
    sheets = []
    for name, options in (("a", []), ("b", []), ("c", ["--preview_rows", "3"]), ("d", ["--preview_rows", "99"])):
        path = tmp_path / "new" / f"{name}.png"
        assert run(copy, "--preview", str(path), *options) == 0
        assert path.stat().st_size < 2_000_000
        sheets.append(cv2.imread(str(path)))
    assert (sheets[0] == sheets[1]).all()
    assert sheets[0].shape[1] == sheets[2].shape[1] == 4 * (240 + 4) + 4
    assert [sheet.shape[0] for sheet in (sheets[0], sheets[2])] == [22 + rows * (22 + 240 + 4) for rows in (8, 3)]
    assert sheets[3].shape[0] / sheets[3].shape[1] > 3.5  # all 16, in smaller pictures if need be
    assert times_of(folder_of(copy)) == times
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"a.png", "b.png", "c.png", "d.png"}


@pytest.mark.parametrize("damage", ["missing", "half", "all"])
def test_preview_leaves_out_crops_that_are_gone(copy, tmp_path, capsys, damage):
    """Their expansion images are there, so nothing is made anew."""
    sheet = tmp_path / "sheet.png"
    row = next(row for row in rows_of(copy) if row["region"] == "mouth" and row["method"] == "Face2Face")
    crop = copy / row["fake"]
    if damage == "half":
        crop.write_bytes(crop.read_bytes()[:2000])
    else:
        for path in [crop] if damage == "missing" else compression_dir(copy, "real", "c23").rglob("*.png"):
            path.unlink()
    left = {"all": 0}.get(damage, IMAGES - 1)
    assert run(copy, "--preview", str(sheet), "--preview_rows", "99") == (0 if left else 2)
    out, error = capsys.readouterr()
    lines = error.splitlines()
    assert sum(line.startswith("warning: left out of the preview: ") for line in lines) == IMAGES - left
    assert len(lines) == IMAGES - left + (not left)
    assert "0 of them new" in out and sheet.exists() == bool(left) == ("preview: " in out)
    assert str(crop) in error if left else "is not written" in lines[-1]


@pytest.mark.parametrize("value", ["", "nan", "inf", "x"])
@pytest.mark.parametrize("damaged", [0, 1])
def test_landmarks_that_are_no_numbers_make_no_pair(demo, value, damaged):
    folder = compression_dir(demo, "real", "c23")
    rows = [manifest.read_rows(folder / "manifest.csv")[0]] * 2
    made = read_crop_format(folder)
    assert place_pair(*rows, made) is not None
    rows[damaged] = rows[damaged] | {"nose_x": value}
    assert place_pair(*rows, made) is None


@pytest.mark.parametrize("change", [{"nose_x": ""}, {"frame": ""}, {"frame": "²"}, {"path": ""}, {"path": "/x.png"}])
def test_a_damaged_manifest_is_an_error_of_one_line(crops, capsys, change):
    table = compression_dir(crops, "FaceSwap", "c23") / "manifest.csv"
    rows = manifest.read_rows(table)
    manifest.write_rows(table, [rows[0] | change, *rows[1:]])
    assert run(crops) == 2
    error = capsys.readouterr().err
    assert str(table) in error and "extract_faces.py again" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    "change", [{"size": "317"}, {"size": 0}, {"scale": None}, {"format": "gif"}, {"quality": [95]}, {"size": True}]
)
def test_settings_that_no_extraction_writes_are_refused(crops, capsys, change):
    note = compression_dir(crops, "FaceSwap", "c23") / "manifest.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | change))
    assert run(crops) == 2
    error = capsys.readouterr().err
    assert f"{note} does not tell how the crops were made" in error and error.count("\n") == 1


def test_preview_samples_are_spread(demo):
    args = expand_FFpp.get_args_parser().parse_args(["--data_root", str(demo)])
    jobs = make_plan(args, "train").jobs
    for seed in range(4):
        eight, three = (choose_samples(jobs, n, np.random.default_rng(seed)) for n in (8, 3))
        assert len({(job.row["region"], job.row["method"]) for job in eight}) == 8
        assert [job.row["region"] for job in three] == list(REGION_CODES)
    assert len(choose_samples(jobs, 99, np.random.default_rng(0))) == IMAGES


@pytest.mark.parametrize(
    "options",
    [["--preview_rows", "3"], ["--preview", "x.jpg"], ["--regions", "ear"], ["--donors", "none"], ["--per_video", "0"]],
)
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(SystemExit) as caught:
        run("x", *options)
    assert caught.value.code == 2


def test_images_are_saved_as_the_crops_are(raw_demo, tmp_path):
    """Another file format would tell expansions from crops without a look at the face."""
    root = shutil.copytree(raw_demo, tmp_path / "data")
    common = ["--data_root", str(root), "--workers", "1"]
    options = ["--dataset", "FFpp", "--split", "train", "--n_frames", "2", "--format", "jpg", "--quality", "80"]
    assert extract_faces.main([*options, *common]) == 0
    assert run(root) == 0
    rows = rows_of(root)
    assert len(rows) == IMAGES
    tables = [[path.read_bytes() for path in (folder_of(root) / row["path"], root / row["real"])] for row in rows]
    for made, crop in tables:
        start, end = (content.index(b"\xff\xdb") for content in (made, crop))
        assert made[:2] == b"\xff\xd8"
        assert made[start : start + 69] == crop[end : end + 69]  # the quantisation table, so the quality
    assert {path.suffix for path in folder_of(root).rglob("*") if path.is_file()} == {".jpg", ".csv", ".json"}


def test_a_second_run_at_the_same_time_is_refused(copy, capsys):
    code = "import sys, utils.locks as l\nwith l.exclusive_folder(sys.argv[1]): print(flush=True), input()"
    command = [sys.executable, "-c", code, str(folder_of(copy))]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        other.stdout.readline()
        assert run(copy, "--overwrite") == 2
        other.communicate("\n")
    assert "another run is working" in capsys.readouterr().err
    assert len(rows_of(copy)) == IMAGES
