"""Who is in a picture or a video, with a detector that finds what a test wants; the videos are real files."""

import numpy as np
import pytest
from PIL import Image

from datasets.face_regions import TEMPLATE_112
from prediction import people
from prediction.people import ScoredFaces, Source, find_faces, find_people
from prediction.results import RESULT_FILES
from preprocessing.demo.videos import write_video
from preprocessing.detection.faces import Faces
from preprocessing.extraction.face_limits import MIN_CONFIDENCE
from preprocessing.extraction.find_files import LeftOut, find_inputs, find_videos, left_out_note
from preprocessing.extraction.photos import PhotoError, read_photo
from preprocessing.extraction.video import VideoError
from utils.cli import UserError
from utils.own_files import RECORD, recorded

COUNT = 12
CONFIDENCE = MIN_CONFIDENCE["mtcnn"]


def faces(*several):
    """several: (x, side, score) of each face; largest first as a detector gives them."""
    boxes = np.array([[x, 5, x + side, 5 + side] for x, side, _ in several], np.float32).reshape(-1, 4)
    landmarks = [TEMPLATE_112 / 112 * side + [x, 5] for x, side, _ in several]
    return Faces(
        boxes, np.array([s for *_, s in several], np.float32), np.array(landmarks, np.float32).reshape(-1, 5, 2)
    )


class Finder:
    """found: frame number -> Faces, told by a frame's grey level; nothing elsewhere."""

    def __init__(self, found):
        self.found, self.looked_at = found, []

    def detect(self, images):
        numbers = [round(image[:, -8:].mean() / 20) for image in images]
        self.looked_at += numbers
        return [self.found.get(number, faces()) for number in numbers]


@pytest.fixture
def video(tmp_path):
    """Frames of rising grey; a bright left half and a dark one in the middle that looks unlike it."""
    frames = np.broadcast_to(np.arange(COUNT)[:, None, None, None] * 20, (COUNT, 96, 256, 3)).astype(np.uint8).copy()
    rng = np.random.default_rng(0)
    frames[:, :, :80] = np.kron(rng.integers(0, 256, (12, 10, 3)), np.ones((8, 8, 1)))
    frames[:, :, 80:240] = np.kron(rng.integers(0, 256, (12, 20, 3)), np.ones((8, 8, 1)))
    write_video(tmp_path / "v.mp4", frames, 10)
    return tmp_path / "v.mp4"


def scorer(finder):
    """Finds faces and gives them no scores."""
    return lambda frames: [ScoredFaces(*good, np.zeros((0, 10))) for good in find_faces(frames, finder, CONFIDENCE)]


def through(video, found, n_frames=4):
    finder = Finder(found)
    return find_people(Source(video, None), n_frames, CONFIDENCE, scorer(finder)), finder


def test_two_people_are_two_persons_and_bad_faces_are_counted(video):
    found = {frame: faces((100, 70, 0.99), (5, 60, 0.99), (170, 20, 0.99), (3, 60, 0.5)) for frame in range(COUNT)}
    result, finder = through(video, found)
    assert finder.looked_at == [0, 3, 7, 11]
    assert result.persons == [dict.fromkeys((0, 3, 7, 11), 0), dict.fromkeys((0, 3, 7, 11), 1)]
    assert dict(result.dropped) == {"too_small": 4, "low_confidence": 4}


def test_a_frame_without_a_face_gives_its_place_to_a_neighbour(video):
    found = {frame: faces((100, 70, 0.99)) for frame in range(COUNT) if frame not in (3, 4)}
    result, finder = through(video, found)
    assert finder.looked_at == [0, 3, 7, 11, 1, 2, 4, 5, 6]
    assert result.persons == [{0: 0, 2: 0, 7: 0, 11: 0}]
    assert through(video, {0: found[0]})[0].persons == [{0: 0}]


def test_a_person_seen_only_for_a_moment_is_left_out(video, monkeypatch):
    monkeypatch.setattr(people, "MIN_PRESENCE", 0.3)
    found = {frame: faces((100, 70, 0.99)) for frame in range(COUNT)}
    found[7] = faces((100, 70, 0.99), (5, 60, 0.99))
    result, _ = through(video, found)
    assert result.persons == [dict.fromkeys((0, 3, 7, 11), 0)]
    assert dict(result.dropped) == {"brief": 1}
    result, _ = through(video, {7: faces((5, 60, 0.99))})
    assert (result.persons, dict(result.dropped)) == ([], {"brief": 1})


def test_frames_that_the_container_promises_but_does_not_hold(video, monkeypatch):
    real = people.count_frames
    monkeypatch.setattr(people, "count_frames", lambda path, decode=False: COUNT if decode else real(path) + 8)
    result, finder = through(video, {frame: faces((100, 70, 0.99)) for frame in range(COUNT)})
    assert sorted(result.faces) == [0, 3, 7, 11]
    assert finder.looked_at == [0, 6, 3, 7, 11]


def test_nobody(video, tmp_path):
    result, _ = through(video, {})
    assert (result.persons, len(result.faces)) == ([], 4)
    (tmp_path / "no.mp4").write_bytes(b"nothing")
    with pytest.raises(VideoError):
        through(tmp_path / "no.mp4", {})


def test_every_face_of_a_photo_is_a_person():
    finder = Finder({0: faces((100, 70, 0.99), (5, 60, 0.99), (170, 20, 0.99))})
    result = find_people(Source(None, np.zeros((96, 256, 3), np.uint8)), 4, CONFIDENCE, scorer(finder))
    assert result.persons == [{0: 0}, {0: 1}]
    assert dict(result.dropped) == {"too_small": 1}


def test_photos_are_turned_upright_and_other_files_told_apart(tmp_path):
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif)
    upright = read_photo(tmp_path / "a.jpg")
    assert upright.shape == (40, 20, 3)
    assert upright[:15].min() > 200
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:300])
    (tmp_path / "c.jpg").write_text("no picture")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(tmp_path / "d.png")
    with pytest.raises(PhotoError, match="damaged"):
        read_photo(tmp_path / "b.jpg")
    with pytest.raises(PhotoError, match="8 bits"):
        read_photo(tmp_path / "d.png")
    assert read_photo(tmp_path / "c.jpg") is None


def test_inputs_of_folders_lists_and_files(tmp_path):
    for name in ("in/b.mp4", "in/deep/a.PNG", "in/notes.md", "in/.hidden.jpg", "c.gif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "list.txt").write_text(f"{tmp_path}/c.gif\n\n{tmp_path}/missing.mp4\n")
    found, left_out = find_inputs([tmp_path / "in", tmp_path / "list.txt", tmp_path / "c.gif"])
    assert left_out == ([tmp_path / "in/notes.md"], [])
    assert left_out_note(left_out) == (
        f"left out of the folders, by their endings: 1 files (1 .md), the first: {tmp_path}/in/notes.md"
    )
    assert left_out_note(LeftOut([], [])) is None
    assert found == [tmp_path / name for name in ("in/b.mp4", "in/deep/a.PNG", "c.gif", "missing.mp4")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no photograph and no video"):
        find_inputs([tmp_path / "empty"])


def test_results_are_no_inputs(tmp_path):
    for name in ("a.png", "out/b.png", "out/a/c.png", "earlier/a/annotated.jpg", "earlier/a/d.png", "earlier/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with recorded(tmp_path / "earlier" / "a", RESULT_FILES):
        (tmp_path / "earlier" / "a" / "prediction.json").touch()
    (tmp_path / "link").symlink_to("out")
    found, left_out = find_inputs([tmp_path], tmp_path / "link")
    assert found == [tmp_path / "a.png", tmp_path / "earlier/e.png"]
    assert left_out.results == [tmp_path / "earlier/a", tmp_path / "link"]
    assert left_out_note(left_out) == (f"not read, because they hold results: 2, the first: {tmp_path}/earlier/a")
    with recorded(tmp_path / "earlier", ["predictions.csv"]):
        (tmp_path / "earlier" / "predictions.csv").touch()
    with pytest.raises(UserError, match="no photograph"):  # what a shell makes of earlier/*
        find_inputs([tmp_path / "earlier" / "a", tmp_path / "earlier" / "predictions.csv"], tmp_path / "earlier")
    (tmp_path / "earlier" / "a" / "prediction.json").unlink()
    assert find_inputs([tmp_path / "earlier"])[0] == [
        tmp_path / f"earlier/{name}" for name in ("a/annotated.jpg", "a/d.png", "e.png")
    ]
    for record in ('{"files": [], "unfinished": ["prediction.json"]}', "damaged"):
        (tmp_path / "earlier" / "a" / RECORD).write_text(record)
        assert len(find_inputs([tmp_path / "earlier"])[0]) == (3 if record == "damaged" else 1), "a run was killed"
    assert find_inputs([tmp_path / "out"], tmp_path / "out")[0] == [tmp_path / "out/a/c.png", tmp_path / "out/b.png"]
    with pytest.raises(UserError, match="would be read as photographs in the next run"):
        find_videos([tmp_path / "out"], tmp_path / "link", photos=True)
