"""Files that are checkpoints though they hold more, and files that are none and say so."""

import pickle
import zipfile

import numpy as np
import pytest
import torch

from models.checkpoint import load_model, save_checkpoint, save_weights, threshold_of
from models.checkpoint_file import read_checkpoint
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFSC
from tests.platforms import posix_only
from utils.cli import UserError


@pytest.fixture
def model():
    torch.manual_seed(0)
    return JointEmbedding(architecture("demo"), FFSC, "cosine")


VALUES = [
    np.float64(0.93),
    np.float32(0.5),
    np.int64(-3),
    np.bool_(True),
    np.str_("é"),
    np.arange(6).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array([1, 2], ">i4"),
    np.array(["a", "bc"]),
    np.array([]),
    np.zeros((0, 3)),
    np.array(2.5),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_numpy_values_beside_the_weights(tmp_path, model, value):
    torch.save({"model": model.clip.state_dict(), "value": value}, tmp_path / "a.pth")
    read = read_checkpoint(tmp_path / "a.pth")["value"]
    assert np.array_equal(read, value) and np.shape(read) == np.shape(value)
    assert np.asarray(read).dtype == np.asarray(value).dtype.newbyteorder("=")


def test_names_of_numpy_1_are_read(tmp_path):
    torch.save({"model": {}, "value": np.float64(0.5), "array": np.arange(3)}, tmp_path / "new.pth")
    with zipfile.ZipFile(tmp_path / "new.pth") as new, zipfile.ZipFile(tmp_path / "old.pth", "w") as old:
        for name in new.namelist():
            old.writestr(name, new.read(name).replace(b"numpy._core.", b"numpy.core."))
    content = read_checkpoint(tmp_path / "old.pth")
    assert content["value"] == 0.5 and content["array"].tolist() == [0, 1, 2]


class _Forged:
    """Pickled as NumPy pickles a scalar, of a dtype that is no number, or whose fields are pointers."""

    def __init__(self, dtype, data):
        self.dtype, self.data = dtype, data

    def __reduce__(self):
        return np._core.multiarray.scalar, (self.dtype, self.data)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.array([None]), "object"),
        (np.zeros(2, [("a", "f8")]), "void64"),
        (_Forged(np.dtype("O"), b"\1" * 8), "object"),
        (_Forged(np.dtype([("a", "O")]), b"\1" * 8), "void64"),
    ],
)
def test_numpy_values_that_are_no_numbers_are_refused(tmp_path, value, dtype):
    torch.save({"model": {}, "value": value}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=f"refused: it wants to load numpy.{dtype};"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_numpy_value_with_too_few_bytes(tmp_path):
    torch.save({"model": {}, "value": _Forged(np.dtype("f8"), b"\1")}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(tmp_path / "a.pth")


def test_safetensors_hold_the_whole_checkpoint(tmp_path, model):
    save_weights(tmp_path / "a.safetensors", model, threshold=0.25, crops={"scale": 1.3})
    again, content = load_model(tmp_path / "a.safetensors"), read_checkpoint(tmp_path / "a.safetensors")
    assert (again.tree, again.score, again.architecture) == (FFSC, "cosine", model.architecture)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert (content["threshold"], content["crops"]) == (0.25, {"scale": 1.3})
    save_checkpoint(tmp_path / "a.pth", model, threshold=0.25, crops={"scale": 1.3})
    assert content.keys() == read_checkpoint(tmp_path / "a.pth").keys()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.pth", "a.safetensors"], "no temporary file is left"


@posix_only
@pytest.mark.parametrize("save", [save_weights, save_checkpoint])
def test_a_full_disk_leaves_no_half_file(tmp_path, model, save):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, hard))
    try:
        with pytest.raises(UserError, match=r"cannot write .*, the disk may be full"):
            save(tmp_path / "a.pth", model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_the_threshold_may_be_a_number_of_numpy():
    assert threshold_of({"threshold": np.float32(0.5)}, "a.pth") == 0.5
    assert type(threshold_of({"threshold": np.float32(0.5)}, "a.pth")) is float
    for damaged in (np.float32(2), np.array([0.5]), 1):
        with pytest.raises(UserError, match="damaged decision threshold"):
            threshold_of({"threshold": damaged}, "a.pth")


def test_safetensors_of_a_vit(tmp_path, published_checkpoint):
    model = load_model(published_checkpoint)
    save_weights(tmp_path / "a.safetensors", model)
    again = load_model(tmp_path / "a.safetensors").state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items())


def test_safetensors_are_known_by_their_content(tmp_path, model):
    save_weights(tmp_path / "a.pth", model)
    assert load_model(tmp_path / "a.pth").tree is FFSC


@pytest.mark.parametrize("metadata", ["5", "[1]", "{", "[" * 100000])
def test_safetensors_with_damaged_metadata(tmp_path, metadata):
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", {"sjedd": metadata})
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(tmp_path / "a.safetensors")


def _half(path, save):
    save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _zip(path, model):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/ckpt_best.pth", b"")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 605157884\n"
PAGE = b"\xef\xbb\xbf\r\n<!DOCTYPE html><html><title>Google Drive - Virus scan warning</title></html>"
FILES = {
    "page": (lambda path, model: path.write_bytes(PAGE), r"a saved web page \(HTML\).*download it again"),
    "pointer": (lambda path, model: path.write_bytes(POINTER), "a Git LFS pointer.*git lfs pull"),
    "empty": (lambda path, model: path.write_bytes(b""), r"empty \(0 bytes\); download or copy it again"),
    "zeros": (lambda path, model: path.write_bytes(bytes(9000)), "an unfinished download"),
    "text": (lambda path, model: path.write_bytes(b"Entry not found\n"), r"a text \('Entry not found'\); download"),
    "half": (
        lambda path, model: _half(path, lambda p: save_checkpoint(p, model)),
        r"truncated: the end of the archive is missing after [\d,]+ bytes; download or copy it again",
    ),
    "half of a safetensors": (
        lambda path, model: _half(path, lambda p: save_weights(p, model)),
        "truncated.*download or copy it again",
    ),
    "half of an old pickle": (
        lambda path, model: _half(
            path, lambda p: torch.save(model.clip.state_dict(), p, _use_new_zipfile_serialization=False)
        ),
        "truncated.*download or copy it again",
    ),
    "gzip": (lambda path, model: path.write_bytes(b"\x1f\x8b\x08\0"), r"packed \(gzip\); unpack it first"),
    "zip of files": (_zip, r"a ZIP archive of other files \(folder/ckpt_best.pth\); unpack it"),
}


@pytest.mark.parametrize("case", FILES)
@pytest.mark.parametrize("name", ["ckpt_best.pth", "model.safetensors"])
def test_files_that_are_no_checkpoints_are_named(tmp_path, model, case, name):
    make, message = FILES[case]
    make(tmp_path / name, model)
    with pytest.raises(UserError, match=f"cannot be read, it is {message}"):
        read_checkpoint(tmp_path / name)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_openais_programs_are_no_checkpoints(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "ViT-B-32.pt"))
    with pytest.raises(UserError, match=r"a TorchScript program.*--pretrained"):
        load_model(tmp_path / "ViT-B-32.pt")


def test_a_safetensors_whose_first_byte_is_that_of_a_page(tmp_path):
    """Its first bytes are the length of its header."""
    import safetensors.torch

    for n in range(200):
        safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", {"x": "y" * n})
        if (tmp_path / "a.safetensors").read_bytes()[:1] in (b"<", b"\x20"):
            break
    assert torch.equal(read_checkpoint(tmp_path / "a.safetensors")["model"]["a"], torch.ones(1))


def test_a_bare_pickle_is_refused_with_what_it_wants(tmp_path):
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"a": print}, protocol=2))
    with pytest.raises(UserError, match=r"refused: it wants to load [\w.]*print"):
        read_checkpoint(tmp_path / "a.pth")
