import csv
import shutil

import cv2
import numpy as np
import pytest

from datasets.ffpp_methods import METHOD_CODES, REGION_CODES, compression_dir
from preprocessing import expand_FFpp, make_lists
from preprocessing.align import align_face, similarity_matrix, template
from preprocessing.regions import REGIONS, move_crop, region_mask, transplant


@pytest.fixture
def copy(demo, tmp_path):
    shutil.copytree(demo, tmp_path / "data")
    return tmp_path / "data"


def rows_of(root):
    with (root / "FF++" / "expansion" / "train" / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("region", "inside"), [("eyes", (0, 1)), ("nose", (2,)), ("mouth", (3, 4))])
def test_a_mask_holds_its_landmarks_and_no_others(region, inside):
    for size in (112, 317):
        mask = region_mask(region, size)
        assert mask.shape == (size, size)
        assert mask.dtype == np.float32
        values = [mask[round(y), round(x)] for x, y in template(size)]
        assert all((value > 0.5) == (i in inside) for i, value in enumerate(values))
        assert mask[0].max() == 0
    assert REGIONS.keys() == REGION_CODES.keys()


def test_transplant_mixes_by_the_mask():
    real, fake = np.full((4, 4, 3), 10, np.uint8), np.full((4, 4, 3), 30, np.uint8)
    mask = np.zeros((4, 4), np.float32)
    mask[0], mask[1] = 1, 0.5
    assert transplant(real, fake, mask)[:, 0, 0].tolist() == [30, 20, 10, 10]


def test_a_moved_crop_is_the_crop_with_the_other_matrix():
    frame = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8), (0, 0), 6)
    frame = cv2.normalize(frame, None, 0, 255, cv2.NORM_MINMAX)
    points = template(200) + [50, 40]
    other = points + np.array([[2, 1], [-3, 2], [0, 3], [1, -2], [2, 2]])
    crops = [align_face(frame, p, 200).astype(float) for p in (points, other)]
    moved = move_crop(crops[0].astype(np.uint8), *(similarity_matrix(p, 200) for p in (points, other)))
    middle = slice(30, 170)
    assert np.abs(moved - crops[1])[middle, middle].mean() < 1 < np.abs(crops[0] - crops[1])[middle, middle].mean()


def test_expansion_has_rows_codes_and_only_its_region_changed(demo):
    rows = rows_of(demo)
    # one pair, both directions: swaps give three regions, expression changes the mouth
    assert len(rows) == 2 * (2 * 3 + 2 * 1)
    target = demo / "FF++" / "expansion" / "train"
    assert {row["path"] for row in rows} == {p.relative_to(target).as_posix() for p in target.rglob("*.png")}
    for row in rows:
        assert row["path"] == f"{row['region']}/{row['method']}_{row['video']}/{int(row['frame']):04d}.png"
        assert row["code"] == REGION_CODES[row["region"]]
        assert f"/{row['video'].split('_')[0]}/" in row["real"]
        image, real = (cv2.imread(str(path)).astype(int) for path in (target / row["path"], demo / row["real"]))
        mask = region_mask(row["region"], grow=float(row["grow"]))
        assert np.abs(image - real)[mask < 0.001].max() <= 1
        assert np.abs(image - real)[mask > 0.5].mean() > 1
    assert not (demo / "FF++" / "expansion" / "val").exists()


def test_expansion_again_is_the_same_and_replaces(copy):
    target = copy / "FF++" / "expansion" / "train"
    before = {path: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    (target / "eyes" / "stale").mkdir()
    (target / "eyes" / "stale" / "0000.png").touch()
    common = ["--data_root", str(copy), "--workers", "1"]
    assert expand_FFpp.main(common) == 0
    assert {path: path.read_bytes() for path in target.rglob("*") if path.is_file()} == before
    assert expand_FFpp.main([*common, "--per_video", "2", "--seed", "1"]) == 0
    assert len(rows_of(copy)) == 32


def test_expansion_without_crops_says_what_to_do(raw_demo, capsys):
    assert expand_FFpp.main(["--data_root", str(raw_demo)]) == 2
    assert "extract_faces.py" in capsys.readouterr().err


def test_lists_hold_every_crop_with_its_code(demo, tmp_path, capsys):
    common = ["--data_root", str(demo), "--output", str(tmp_path)]
    assert make_lists.main([*common, "--expansion"]) == 0
    lines = (tmp_path / "train.txt").read_text().splitlines()
    assert len(lines) == 2 * 2 * 5 + 16
    for line in lines:
        path, code = line.rsplit(" ", 1)
        assert (tmp_path / path).is_file()
        method = next((m for m in METHOD_CODES if f"/{m}/" in path), None)
        region = next((r for r in REGION_CODES if f"/expansion/train/{r}/" in path), None)
        assert code == (REGION_CODES.get(region) or METHOD_CODES.get(method) or "1000000000")
    assert len((tmp_path / "val.txt").read_text().splitlines()) == 20
    first = (tmp_path / "test.txt").read_bytes()
    assert make_lists.main([*common, "--n_frames", "1", "--split", "test"]) == 0
    assert len((tmp_path / "test.txt").read_text().splitlines()) == 10
    assert make_lists.main(common) == 0
    assert (tmp_path / "test.txt").read_bytes() == first


def test_lists_count_videos_without_crops(copy, tmp_path, capsys):
    shutil.rmtree(compression_dir(copy, "real", "c23") / "faces" / "004")
    (compression_dir(copy, "real", "c23") / "faces" / "005" / ".0000.tmp.png").touch()
    common = ["--data_root", str(copy), "--output", str(tmp_path), "--split", "test"]
    assert make_lists.main(common) == 0
    assert "test: 1 real videos have no crop" in capsys.readouterr().out
    assert len((tmp_path / "test.txt").read_text().splitlines()) == 18
    assert make_lists.main([*common, "--compression", "c40"]) == 2
    assert "extract_faces.py" in capsys.readouterr().err
    shutil.rmtree(copy / "FF++" / "expansion")
    assert make_lists.main([*common[:-1], "train", "--expansion"]) == 2
    assert "expand_FFpp.py" in capsys.readouterr().err
