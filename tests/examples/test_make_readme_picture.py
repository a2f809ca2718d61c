"""The picture at the top of README."""

import numpy as np
import pytest
from PIL import Image

from examples.make_readme_picture import draw, main
from models.label_tree import FFPP
from tests.conftest import ROOT
from utils.video_writer import write_video


def test_the_picture_is_drawn_and_small(tmp_path):
    with Image.open(ROOT / "tests/data/cdf_tiny/FakeCDF/id1_0001/0000.png") as crop:
        write_video(tmp_path / "fake.mp4", [np.asarray(crop.convert("RGB"))], 25)
    person = {
        "outcome": "fake",
        "p_fake": 0.97,
        "explanation": "Fake (0.97). Expression altered (0.91): lips 0.93, mouth 0.9.",
        "nodes": dict.fromkeys(FFPP.nodes, 0.5),
        "state": ["fake", "expression", "lip", "mouth"],
        "frames": [{"frame": 0, "p_fake": 0.97, "box": [8, 8, 24, 24]}],
    }
    draw(person, tmp_path / "fake.mp4", tmp_path / "sub" / "picture.png")
    with Image.open(tmp_path / "sub" / "picture.png") as picture:
        assert picture.width > 1000
    assert (tmp_path / "sub" / "picture.png").stat().st_size < 300_000


def test_without_the_demo_it_says_what_to_run(tmp_path):
    with pytest.raises(SystemExit, match="make demo"):
        main(["--resume", str(tmp_path / "none.pth")])
