"""Load: ten times as many videos, frames or lines cost about ten times as much time and memory."""

import os

import numpy as np
import pytest

from preprocessing.demo.videos import write_video
from tests.conftest import REAL, SWAP
from tests.stress.measuring import about_linear, cost
from utils import video_writer

NO_DETECTOR = """
import numpy as np
from types import SimpleNamespace
from preprocessing.extraction import face_crops
from preprocessing import extract_faces
from preprocessing.detection.faces import Faces
none = Faces(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))
face_crops.detector_of = lambda *_: SimpleNamespace(detect=lambda frames: [none] * len(frames))
"""
PREDICT = """
from pathlib import Path
import numpy as np
from prediction.people import ScoredFaces, Source, find_people
from preprocessing.detection.faces import Faces
from preprocessing.extraction.face_limits import MIN_CONFIDENCE
nobody = ScoredFaces(Faces(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2))), [], np.zeros((0, 10)))
"""
CHOOSE = """
from pathlib import Path
from preprocessing.extraction.video import count_frames, frame_indices, read_frames
"""
TRACKS = """
import numpy as np
from datasets.face_regions import TEMPLATE_112
from preprocessing.detection.faces import Faces
from preprocessing.extraction.tracks import FrameFaces, people
def look(n):
    boxes = np.float32([[0, 0, 100, 100], [500, 0, 600, 100]])[:n]
    landmarks = np.float32([TEMPLATE_112, TEMPLATE_112 + [500, 0]])[:n]
    return FrameFaces(Faces(boxes, np.ones(n, np.float32), landmarks), np.eye(n, 432, dtype=np.float32))
"""
TREE = "from models.label_tree import FFPP"
READ = f"{TREE}\nfrom datasets.readers.txt_list import read_txt_list"
FINDINGS = "import SJEDD_check_data"
EPOCH = "from collections import deque\nfrom datasets.frames import EpochBatches"


def test_many_videos(tmp_path):
    """10,000 videos of one frame: listing, planning, row files, merge; then once more with everything finished."""
    clip = tmp_path / "clip.mp4"
    write_video(clip, np.full((1, 64, 64, 3), 90, np.uint8), 30)
    costs = {}
    for number in (1000, 10_000):
        folder = tmp_path / f"videos{number}"
        for start in range(0, number, 100):
            (folder / f"{start:05d}").mkdir(parents=True)
            for i in range(100):
                os.link(clip, folder / f"{start:05d}" / f"{i:02d}.mp4")
        argv = ["--dataset", "videos", "--video_path", str(folder), "--save_path", f"{folder}_out", "--workers", "1"]
        argv += ["--detector", "mtcnn"]
        work = f"assert extract_faces.main({argv!r}) == 0"
        costs[number] = [cost(NO_DETECTOR, work) for _ in range(2)]
    for step, what in enumerate(("all new", "all finished")):
        about_linear(f"extract_faces.py, 1,000 and 10,000 videos, {what}", costs[1000][step], costs[10_000][step])


@pytest.fixture(scope="module")
def long_videos(tmp_path_factory):
    """number of frames -> video of 64x64 px."""
    folder = tmp_path_factory.mktemp("long")
    paths = {number: folder / f"{number}.mp4" for number in (10_000, 100_000)}
    for number, path in paths.items():
        frames = (np.full((64, 64, 3), i % 250, np.uint8) for i in range(number))
        video_writer.write_video(path, frames, 25)
    return paths


def test_a_long_video(long_videos):
    """100,000 frames: the choice and reading of 32, for crops and for a prediction."""
    crops, people = [], []
    for path in long_videos.values():
        of_32 = f"frame_indices(count_frames(Path({str(path)!r})), 32)"
        crops.append(cost(CHOOSE, f"assert len(list(read_frames(Path({str(path)!r}), {of_32}))) == 32"))
        source = f"Source(Path({str(path)!r}), None)"
        call = f"find_people({source}, 32, MIN_CONFIDENCE['mtcnn'], lambda frames: [nobody] * len(frames))"
        people.append(cost(PREDICT, f"assert len({call}.faces) == 32"))
    about_linear("32 of 10,000 and 100,000 frames, for crops", *crops)
    about_linear("32 of 10,000 and 100,000 frames, for a prediction", *people)


def test_a_long_video_of_which_every_frame_counts(long_videos, tmp_path):
    """--n_frames all over 100,000 frames, without a face in any."""
    costs = []
    for number, path in long_videos.items():
        argv = ["--dataset", "videos", "--video_path", str(path), "--save_path", str(tmp_path / str(number))]
        argv += ["--detector", "mtcnn", "--workers", "1", "--n_frames", "all"]
        costs.append(cost(NO_DETECTOR, f"assert extract_faces.main({argv!r}) == 0"))
    about_linear("extract_faces.py --n_frames all, 10,000 and 100,000 frames", *costs)


def test_two_people_who_often_go_away():
    """Tracking: the looks at every frame, a new track of both people after each 40 frames."""
    costs = []
    for number in (10_000, 100_000):
        looks = f"{{frame: look(2 if frame % 40 < 9 else 0) for frame in range({number})}}"
        costs.append(cost(TRACKS, f"assert len(people({looks}, 0.8)) == 2"))
    about_linear("tracks of two people, 10,000 and 100,000 frames, 500 and 5,000 tracks", *costs)


@pytest.fixture(scope="module")
def long_lists(tmp_path_factory):
    """number of lines -> list of as many files, 1,000 in a folder."""
    root = tmp_path_factory.mktemp("crops")
    paths = {number: root / f"{number}.txt" for number in (100_000, 1_000_000)}
    lines = []
    for video in range(1000):
        folder = root / f"{video:04d}"
        folder.mkdir()
        for frame in range(1000):
            name = f"{folder}/{frame:04d}.png"
            os.close(os.open(name, os.O_CREAT))
            lines.append(f"{name} {(REAL, SWAP)[video % 2]}\n")
        os.truncate(name, 1)
    for number, path in paths.items():
        path.write_text("".join(lines[:number]))
    return paths


def test_a_long_list_is_read(long_lists):
    costs = [cost(READ, f"read_txt_list({str(path)!r}, FFPP)") for path in long_lists.values()]
    about_linear("read_txt_list, 100,000 and 1,000,000 lines", *costs)


def test_a_long_list_is_checked(long_lists):
    """All of its images are empty, but for one of each folder: a finding a line."""
    costs = []
    for path in long_lists.values():
        costs.append(cost(FINDINGS, f"assert SJEDD_check_data.main(['--txt_path_train', {str(path)!r}]) == 2"))
    about_linear("SJEDD_check_data.py, 100,000 and 1,000,000 lines, a finding each", *costs)


def test_a_long_list_of_missing_images_is_checked(tmp_path):
    costs = []
    for number in (100_000, 1_000_000):
        path = tmp_path / f"{number}.txt"
        path.write_text("".join(f"elsewhere/{i // 100}/{i % 100:04d}.png {REAL}\n" for i in range(number)))
        costs.append(cost(FINDINGS, f"assert SJEDD_check_data.main(['--txt_path_train', {str(path)!r}]) == 2"))
    about_linear("SJEDD_check_data.py, 100,000 and 1,000,000 missing images", *costs)


def test_the_order_of_an_epoch():
    costs = [cost(EPOCH, f"deque(EpochBatches({n}, 32, 0, 0), maxlen=0)") for n in (100_000, 1_000_000)]
    about_linear("order of an epoch, 100,000 and 1,000,000 images", *costs)
