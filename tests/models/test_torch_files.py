"""Files of torch.save are read as torch.load reads them, and refused if they are damaged or claim too much."""

import argparse
import collections
import io
import pickle
import struct
import time
import zipfile

import numpy as np
import pytest
import torch

from models.checkpoint import load_model, save_checkpoint, save_weights
from models.checkpoint_file import read_checkpoint
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from utils.cli import UserError

T = torch.arange(24.0).reshape(4, 6)
TENSORS = {
    "whole": T,
    "transposed": T.T,
    "part": T[1:, 2:],
    "float16": T.half(),
    "bfloat16": T.bfloat16(),
    "int32": T.int(),
    "bool": T > 3,
    "complex": T.cfloat(),
    "empty": torch.empty(0, 3),
    "scalar": torch.tensor(5),
    "expanded": torch.ones(1).expand(3, 4),
    "parameter": torch.nn.Parameter(T.clone()),
}
NEW = {"float8": T.to(torch.float8_e4m3fn), "uint16": T.to(torch.uint16)}  # torch.load cannot read the older format
PLAIN = {
    "values": [1, -2, 300, 70000, 10**30, 2.5, None, True, False, "é", b"xy", (), (1, (2, [3]))],
    "counter": collections.Counter([1, 1, 2]),
    "ordered": collections.OrderedDict(a=1),
    "set": {1, 2},
    "shape": T.shape,
    "dtype": torch.float16,
    "nested": {"a": {"b": [{"c": 1}]}, 5: {0.5: "x", None: 2}},
}


def saved(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def records(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(named):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in named.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def with_pickle(operations):
    """An archive whose pickle is ``operations``."""
    return archive_of({"a/data.pkl": b"\x80\x02" + operations + b".", "a/data/0": bytes(16)})


def text(word):
    return b"X" + struct.pack("<I", len(word.encode())) + word.encode()


def refusal(tmp_path, content, seconds=5):
    """What is said of a file; it must be said quickly."""
    (tmp_path / "hostile.pth").write_bytes(content)
    started = time.process_time()
    with pytest.raises(UserError) as caught:
        load_model(tmp_path / "hostile.pth")
    assert time.process_time() - started < seconds
    return str(caught.value)


def assert_same(ours, theirs):
    if isinstance(theirs, torch.Tensor):
        assert (ours.dtype, ours.shape, ours.stride()) == (theirs.dtype, theirs.shape, theirs.stride())
        assert torch.equal(ours, theirs)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key, value in theirs.items():
            assert_same(ours[key], value)
    else:
        assert ours == theirs


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "before 1.6"])
def test_content_is_that_of_torch_load(tmp_path, legacy):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(T.clone())])
    optimizer.param_groups[0]["params"][0].grad = T
    optimizer.step()
    content = PLAIN | {"model": TENSORS | ({} if legacy else NEW), "optimizer": optimizer.state_dict()}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    assert_same(read_checkpoint(tmp_path / "a.pth"), torch.load(tmp_path / "a.pth", weights_only=True))


def test_tensors_of_one_storage_share_it(tmp_path):
    torch.save({"a": T, "b": T[1]}, tmp_path / "a.pth")
    content = read_checkpoint(tmp_path / "a.pth")
    content["a"][1] = 0
    assert (content["b"] == 0).all()


def test_a_namespace_is_one_again(tmp_path):
    torch.save({"model": {}, "args": argparse.Namespace(lr=0.1, names=["a"])}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth")["args"] == argparse.Namespace(lr=0.1, names=["a"])


@pytest.mark.parametrize("big", [5, 2000, 2**29], ids=["a value", "8 kB", "2 GB"])
def test_a_storage_that_is_larger_than_its_record(tmp_path, big):
    """PyTorch 2.6.0 reads the memory behind it as weights."""
    named = records(saved({"model": {"a": torch.arange(4.0)}}))
    count = b"J" + struct.pack("<i", big)
    for name, data in named.items():
        if name.endswith("data.pkl"):
            assert data.count(b"K\x04tq") == data.count(b"K\x04\x85q") == 1
            named[name] = data.replace(b"K\x04tq", count + b"tq").replace(b"K\x04\x85q", count + b"\x85q")
    assert f"it claims {4 * big} bytes for data/0, which has 16" in refusal(tmp_path, archive_of(named))


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "before 1.6"])
def test_a_tensor_that_is_larger_than_its_storage(tmp_path, legacy):
    content = saved({"model": {"a": torch.arange(4.0)}}, _use_new_zipfile_serialization=not legacy)
    large = b"J" + struct.pack("<i", 2**29) + b"\x85q"
    if legacy:
        content = content.replace(b"K\x04\x85q", large)
    else:
        content = archive_of({name: data.replace(b"K\x04\x85q", large) for name, data in records(content).items()})
    assert "a tensor that is larger than its storage" in refusal(tmp_path, content)


def test_an_old_file_that_claims_gigabytes(tmp_path):
    content = saved({"model": {"a": torch.arange(4.0)}}, _use_new_zipfile_serialization=False)
    count = b"J" + struct.pack("<i", 750_000_000)
    changed = content.replace(b"K\x04Ntq", count + b"Ntq").replace(b"K\x04\x85q", count + b"\x85q")
    assert changed != content
    assert "bytes are fewer than its storages have" in refusal(tmp_path, changed)


def test_an_old_file_without_a_storage_that_it_names(tmp_path):
    content = saved({"model": {"a": torch.arange(4.0)}}, _use_new_zipfile_serialization=False)
    keys = content.rindex(b"\x80\x02]q")
    assert "does not hold the storages" in refusal(tmp_path, content[:keys] + b"\x80\x02]q\x00.")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return JointEmbedding(architecture("demo"), FFPP)


@pytest.mark.parametrize("save", [save_checkpoint, save_weights])
def test_a_flipped_bit_is_found(tmp_path, model, save):
    save(tmp_path / "a.pth", model, trainer={"step": 3})
    content = bytearray((tmp_path / "a.pth").read_bytes())
    place = content.index(model.clip.visual.stages[0].weight.detach().numpy().tobytes())
    content[place + 2] ^= 4
    assert "is damaged: the check sum of" in refusal(tmp_path, content)


def test_check_sums_that_were_never_computed_are_not_asked_for(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"model": {"a": T}}, tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_checkpoint(tmp_path / "a.pth")["model"]["a"], T)


def laughs(levels=40):
    """A tuple of two that are the same tuple of two, and so on: 2 ** levels parts as text, and to hash."""
    return b"NN\x86" + b"q\x00h\x00\x86" * levels


DEEP = b")" + b"\x85" * 2_000_000  # a tuple in a tuple in ..., too many values
LESS_DEEP = b")" + b"\x85" * 100_000
FLOOD = b"".join(b"\x8a\x0a" + (k * (2**61 - 1)).to_bytes(10, "little") + b"N" for k in range(1, 30_000))  # one hash
HOSTILE = {
    "laughing key": (b"}" + laughs() + b"Ns", "a key of type tuple"),
    "deep key": (b"}" + DEEP + b"Ns", "holds more than"),
    "less deep key": (b"}" + LESS_DEEP + b"Ns", "a key of type tuple"),
    "deep value": (b"}" + text("a") + LESS_DEEP + b"s", "nests more than 100"),
    "laughing threshold": (b"}" + text("threshold") + laughs() + b"s", "repeats its own parts"),
    "laughing tree name": (b"}" + text("tree") + b"}" + text("name") + laughs() + b"ss", "repeats its own parts"),
    "laughing nodes": (b"}" + text("tree") + b"}" + text("nodes") + b"]" + laughs() + b"ass", "repeats its own parts"),
    "laughing score": (b"}" + text("score") + laughs() + b"s", "repeats its own parts"),
    "laughing text": (b"}" + text("score") + b"](" + text("x" * 999) + b"q\x01" + b"h\x01" * 50_000 + b"es", "repeats"),
    "a list that holds itself": (b"}" + text("a") + b"]q\x00h\x00as", "nests more than|repeats its own parts"),
    "laughing storage": (b"}" + text("a") + b"(" + text("storage") + b"ctorch\nFloatStorage\n" + laughs() + text("cpu")
                         + b"K\x01tQs", "damaged or no PyTorch"),
    "laughing function": (b"}" + text("a") + laughs() + b")Rs", "cannot be read"),
    "keys of one hash": (b"}(" + FLOOD + b"u", "a key of type int"),
    "many values": (b"](" + b"N" * 600_000 + b"e", "holds more than 500,000 values"),
    "slow codec": (b"c_codecs\nencode\n" + text("é") + text("punycode") + b"\x86R", "damaged or no PyTorch"),
    "memory that is not filled": (b"ctorch\nTensor\nJ\0\0\0\x10\x85R", "wants to load torch.Tensor"),
    "another function": (b"cos\nsystem\n" + text("true") + b"\x85R", "wants to load os.system"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_pickles_that_would_never_end_or_crash(tmp_path, name):
    operations, reason = HOSTILE[name]
    said = refusal(tmp_path, with_pickle(operations), seconds=20)
    assert any(part in said for part in reason.split("|")), said
    assert len(said) < 500 and "\n" not in said


def test_a_list_copied_by_every_call(tmp_path):
    copies = b"c__builtin__\nset\nh\x01\x85R" * 3000
    said = refusal(tmp_path, with_pickle(b"](](" + b"K\x01" * 3000 + b"eq\x01" + copies + b"e"))
    assert "copies its content again and again" in said


def test_numpy_types_of_odd_texts(tmp_path):
    for fields in (b"(" + laughs() + b"\x89\x88t", b"(" + text("f8" * 99) + b"\x89\x88t"):
        said = refusal(tmp_path, with_pickle(b"}" + text("threshold") + b"cnumpy\ndtype\n" + fields + b"Rs"))
        assert "no name of a NumPy type" in said


def test_damaged_thresholds_are_not_printed(tmp_path):
    from models.checkpoint import threshold_of

    with pytest.raises(UserError, match=r"damaged decision threshold \(a tuple\)"):
        threshold_of({"threshold": ("x" * 10**6,)}, "a.pth")


def test_pickles_of_another_byte_order(tmp_path):
    named = {name: b"big" if "byteorder" in name else data for name, data in records(saved({"a": T})).items()}
    assert "another byte order" in refusal(tmp_path, archive_of(named))


def test_a_bare_pickle(tmp_path):
    assert "refused" in refusal(tmp_path, pickle.dumps({"a": 1}, protocol=2))
    assert "refused" in refusal(tmp_path, pickle.dumps({"a": np.ones(3)}))
