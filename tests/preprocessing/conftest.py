import shutil

import pytest

from preprocessing import expand_FFpp, extract_faces, make_demo_videos


@pytest.fixture(scope="session")
def raw_demo(tmp_path_factory):
    """A tiny FF++ of videos only; not to be changed."""
    root = tmp_path_factory.mktemp("raw_demo")
    numbers = ["--n_train", "2", "--n_val", "2", "--n_test", "2", "--frames", "4", "--seed", "3"]
    assert make_demo_videos.main(["--data_root", str(root), "--workers", "1", *numbers]) == 0
    return root


@pytest.fixture(scope="session")
def demo(raw_demo, tmp_path_factory):
    """The same with crops and the expansion of train; not to be changed."""
    root = tmp_path_factory.mktemp("demo") / "data"
    shutil.copytree(raw_demo, root)
    common = ["--data_root", str(root), "--workers", "1"]
    assert extract_faces.main(["--dataset", "FFpp", "--n_frames", "2", *common]) == 0
    assert expand_FFpp.main(common) == 0
    return root
