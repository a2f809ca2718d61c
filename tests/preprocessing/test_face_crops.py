"""The choice of faces and frames, with a detector that finds what a test wants; the videos are real files."""

import csv
import math
from typing import ClassVar

import cv2
import numpy as np
import pytest
import torch

from datasets.face_regions import TEMPLATE_112
from preprocessing.demo.videos import write_video
from preprocessing.detection.faces import Faces
from preprocessing.extract_faces import main
from preprocessing.extraction import face_crops

COUNT = 12


def one_face(side=60, score=0.99, x=10, shape=TEMPLATE_112):
    box = np.float32([[x, 10, x + side, 10 + side]])
    return Faces(box, np.float32([score]), np.float32(shape / 112 * side + [x, 10])[None])


NOTHING = Faces(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))


@pytest.fixture
def extract(tmp_path, monkeypatch):
    """extract(found, *options) -> rows of the manifest. found: frame number -> Faces; nothing elsewhere."""
    folder = tmp_path / "in"
    folder.mkdir()
    levels = np.arange(COUNT)[:, None, None, None] * 20
    write_video(folder / "v.mp4", np.broadcast_to(levels, (COUNT, 96, 96, 3)).astype(np.uint8), 10)

    def run(found, *options):
        class Finder:
            looked_at: ClassVar = []

            def detect(self, images):
                numbers = [round(image.mean() / 20) for image in images]  # a frame's grey level tells its number
                self.looked_at.extend(numbers)
                return [found.get(number, NOTHING) for number in numbers]

        finder = Finder()
        monkeypatch.setattr(face_crops, "detector_of", lambda *_: finder)
        monkeypatch.setattr("preprocessing.extraction.run.load_weights", lambda _: None)
        argv = ["--dataset", "videos", "--video_path", str(folder), "--save_path", str(tmp_path / "out"), "--overwrite"]
        assert main([*argv, "--workers", "1", *options]) == 0
        with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        crops = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out" / "v").glob("*"))
        assert crops == [row["path"] for row in rows if row["status"] == "ok"]
        for row in rows:
            if row["status"] == "ok":
                level = cv2.imread(str(tmp_path / "out" / row["path"])).max()
                assert abs(int(level) - 20 * int(row["frame"])) < 4
        run.looked_at = finder.looked_at
        return [(int(row["wanted_frame"]), int(row["frame"]), row["status"]) for row in rows]

    return run


def test_a_frame_without_a_face_is_replaced_by_its_nearest_good_neighbour(extract):
    good = {frame: one_face() for frame in (0, 4, 6, 7, 11)}
    # wanted: 0 3 7 11; 3 has no face, 4 has
    assert extract(good, "--n_frames", "4") == [(0, 0, "ok"), (3, 4, "ok"), (7, 7, "ok"), (11, 11, "ok")]
    assert extract.looked_at == [0, 3, 7, 11, 1, 2, 4, 5, 6]
    assert extract(good, "--n_frames", "4", "--retry", "0")[1] == (3, 3, "no_face")
    assert extract.looked_at == [0, 3, 7, 11]


def test_no_frame_is_taken_twice_or_from_outside_the_video(extract):
    # wanted: 0 2 4 6 8 11; 11 has no later neighbour; 1 can stand in for 0 or 2, not for both
    good = {frame: one_face() for frame in (1, 4, 6, 8)}
    rows = extract(good, "--n_frames", "6", "--retry", "1")
    assert rows == [(0, 1, "ok"), (2, 2, "no_face"), (4, 4, "ok"), (6, 6, "ok"), (8, 8, "ok"), (11, 11, "no_face")]


def test_a_video_mostly_without_faces_is_not_searched_further(extract):
    assert {status for _, _, status in extract({0: one_face()}, "--n_frames", "4")} == {"ok", "no_face"}
    assert extract.looked_at == [0, 3, 7, 11]


@pytest.mark.parametrize(
    ("faces", "status", "reference"),
    [
        (one_face(score=0.79), "low_confidence", "low_confidence"),
        (one_face(score=0.94), "low_confidence", "ok"),  # MTCNN's scores are higher than RetinaFace's
        (one_face(side=31), "too_small", "ok"),
        (one_face(shape=TEMPLATE_112 * [-1, 1] + [112, 0]), "bad_landmarks", "ok"),
        (one_face(shape=np.full((5, 2), 50.0)), "bad_landmarks", "bad_landmarks"),
    ],
)
def test_reasons_against_a_face(extract, tmp_path, monkeypatch, faces, status, reference):
    found = {frame: faces for frame in range(COUNT)}
    assert {row[2] for row in extract(found, "--n_frames", "2")} == {status}
    monkeypatch.setattr("preprocessing.detection.detectors.RETINAFACE_WEIGHTS", tmp_path / "weights.pth")
    (tmp_path / "weights.pth").write_bytes(b"stands for the file; the detector is a stub here")
    rows = extract(found, "--protocol", "reference")
    assert [row[0] for row in rows] == list(range(COUNT))
    assert {row[2] for row in rows} == {reference}


def test_reference_landmarks_are_cut_to_whole_pixels(extract, tmp_path, monkeypatch):
    monkeypatch.setattr("preprocessing.detection.detectors.RETINAFACE_WEIGHTS", tmp_path / "weights.pth")
    (tmp_path / "weights.pth").touch()
    extract({frame: one_face() for frame in range(COUNT)}, "--protocol", "reference")
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["left_eye_x"] == f"{int(TEMPLATE_112[0, 0] / 112 * 60 + 10)}.000"


def test_track_takes_the_followed_face_and_retries_only_with_it(extract, monkeypatch):
    def sizes(frame, faces):  # the frames are grey: people look like the size they have
        return np.float32([[side == 40, side == 45] for side in faces.boxes[:, 2] - faces.boxes[:, 0]])

    monkeypatch.setattr(face_crops, "views_of", sizes)
    main_face, passer = one_face(40, x=5), one_face(45, x=60)
    both = Faces(*(np.concatenate(pair) for pair in zip(passer, main_face, strict=True)))
    found = {frame: main_face for frame in range(COUNT)} | {3: both, 7: passer, 6: passer}
    rows = extract(found, "--n_frames", "4", "--track", "--retry", "1")
    assert rows == [(0, 0, "ok"), (3, 3, "ok"), (7, 8, "ok"), (11, 11, "ok")]
    assert extract(found, "--n_frames", "4", "--track", "--retry", "0")[2] == (7, 7, "not_tracked")


def test_jpg_crops(extract, tmp_path):
    assert (
        extract({0: one_face(), 11: one_face()}, "--n_frames", "2", "--format", "jpg", "--quality", "80")[0][2] == "ok"
    )
    assert {path.name for path in (tmp_path / "out" / "v").iterdir()} == {"0000.jpg", "0011.jpg"}
    assert cv2.imread(str(tmp_path / "out" / "v" / "0000.jpg")).shape == (317, 317, 3)


class TwoCandidates(torch.nn.Module):
    """RetinaFace's outputs for images of 96x96: a sure box, and a larger one of a lower score that overlaps it."""

    def forward(self, batch):
        loc, conf, landmarks = (torch.zeros(len(batch), 378, n) for n in (4, 2, 10))
        conf[:, [316, 318], 1] = torch.tensor([0.95, 0.85])  # both of 64 px; at (40, 40) and (56, 40)
        loc[:, 318, 0] = -10 / 6.4  # to (46, 40), and grown to 70 px
        loc[:, 318, 2:] = math.log(70 / 64) / 0.2
        landmarks[:] = torch.from_numpy((TEMPLATE_112 - 56) / 11.2).flatten()
        return loc, conf, landmarks


def test_the_reference_takes_the_largest_raw_candidate(tmp_path, monkeypatch):
    """Non-maximum suppression would drop it."""
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "v.mp4", np.full((2, 96, 96, 3), 90, np.uint8), 10)
    (tmp_path / "weights.pth").touch()
    monkeypatch.setattr("preprocessing.detection.detectors.RETINAFACE_WEIGHTS", tmp_path / "weights.pth")
    for module in ("preprocessing.extraction.run", "preprocessing.detection.retinaface"):
        monkeypatch.setattr(f"{module}.load_weights", lambda _: TwoCandidates())
    boxes = {}
    for protocol in ("ours", "reference"):
        argv = ["--dataset", "videos", "--video_path", str(tmp_path / "in"), "--save_path", str(tmp_path / protocol)]
        assert main([*argv, "--protocol", protocol, "--workers", "1"]) == 0
        with (tmp_path / protocol / "manifest.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["status"] for row in rows] == ["ok", "ok"]
        boxes[protocol] = [(float(row["x1"]), float(row["x2"]), row["score"], row["faces_in_frame"]) for row in rows]
    assert boxes["ours"] == [(8, 72, "0.950000", "1")] * 2
    assert boxes["reference"] == [(11, 81, "0.850000", "")] * 2
