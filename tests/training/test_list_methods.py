import pytest

from datasets.records import Record
from training.list_methods import methods_of


def record(path, label=1, code="0101011111", method=""):
    return Record(path, path.rpartition("/")[0], label, code, method)


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/data/lia/FF++/manipulated_sequences/NeuralTextures/c23/faces/000_003/0001.png", "NeuralTextures"),
        ("/data/lia/FF++/expansion/c23/train/nose/FaceSwap_000_003/0001.png", "expansion/nose"),
        ("/data/lia/CDF/faces/FakeCDF/id0_id1_0000/0001.png", "Celeb-DF"),
        ("/data/lia/DF40/sadtalker_ff/000/0001.png", "SadTalker"),
        ("/data/lia/mine/fake/v1/0001.png", "code 0101011111"),
    ],
)
def test_the_method_of_a_fake_is_what_its_folders_tell_else_its_code(path, method):
    """The folder lia is that of a person: all images share it."""
    real = record("/data/lia/FF++/original_sequences/youtube/c23/faces/000/0001.png", 0, "0000000000")
    other = record("/data/lia/x/0001.png", 0)
    assert methods_of([real, record(path), other]) == ["real", method, "real"]
    assert methods_of([real, record(path, method="own"), other])[1] == "own"
