"""Checkpoints that want to run code, to fill the memory, or that are damaged, at every door they can come in by."""

import io
import os
import pickle
import re
import subprocess
import time
import zipfile

import pytest
import torch

import SJEDD_predict
import SJEDD_test
import SJEDD_train_FFpp
from models.checkpoint_file import read_checkpoint
from preprocessing import extract_faces
from tests.conftest import DATA
from tests.models.test_torch_files import HOSTILE, with_pickle
from tests.stress.scripts import refusal, run_script

DOORS = ["test", "predict", "resume", "init_from", "retinaface"]
BOMBS = ["zip bomb, pickle", "zip bomb, weights", "weights of 10^13 numbers"]

# PyTorch warns of these when they are made.
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested", "ignore:torch.quantize_per_tensor")


class Call:
    """Unpickled freely it calls ``function``."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.fixture(scope="module")
def good(published_checkpoint):
    return dict(read_checkpoint(published_checkpoint)["model"])


@pytest.fixture
def doors(tmp_path, crop_lists):
    """Name -> (main, arguments but the checkpoint, script)."""
    lists = ["--txt_path_train", str(crop_lists[0]), "--txt_path_val", str(crop_lists[1])]
    common = ["--output", str(tmp_path / "out"), "--num_workers", "0"]
    train = [SJEDD_train_FFpp.main, "SJEDD_train_FFpp.py"]
    photo = str(DATA / "cdf_tiny" / "RealCDF")
    (tmp_path / "clip.mp4").touch()
    videos = ["--dataset", "videos", "--video_path", str(tmp_path / "clip.mp4"), "--save_path", str(tmp_path / "out")]
    return {
        "test": (SJEDD_test.main, "SJEDD_test.py", ["--dataset", "CDF", "--datapath", str(DATA / "cdf_tiny"), *common,
                                                    "--resume"]),
        "predict": (SJEDD_predict.main, "SJEDD_predict.py", ["--input", photo, "--output", str(tmp_path / "out"),
                                                             "--resume"]),
        "resume": (*train, [*common, "--resume"]),
        "init_from": (*train, [*lists, *common, "--init_from"]),
        "retinaface": (extract_faces.main, "preprocessing/extract_faces.py", [*videos, "--detector", "retinaface",
                                                                              "--detector_weights"]),
    }  # fmt: skip


def changed(state, **tensors):
    return {"model": state | {key.replace("__", "."): value for key, value in tensors.items()}}


def saved(content, **options):
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def rewritten(content, compression, **records):
    """The archive of torch.save, compressed, some of its records replaced by so many zeros."""
    source, target = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name in source.namelist():
            zeros = next((n for end, n in records.items() if name.endswith(end.replace("__", "/"))), None)
            with archive.open(name, "w", force_zip64=True) as file:
                for _ in range((zeros or 0) >> 24):
                    file.write(bytes(1 << 24))
                file.write(b"" if zeros else source.read(name))
    return target.getvalue()


def in_a_zip(content):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    return target.getvalue()


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    """The file that the dangerous ones would make."""
    return tmp_path_factory.mktemp("victim") / "executed"


@pytest.fixture(scope="module")
def hostile(victim, good, ours):
    """Name -> (bytes, words of the refusal)."""
    touch = f"touch {victim}"
    system = Call(os.system, touch)
    quantized = torch.quantize_per_tensor(torch.zeros(64), 0.1, 0, torch.qint8)
    nested = torch.nested.nested_tensor([torch.zeros(64)])
    bias, text = "visual__ln_pre__bias", ours["architecture"]["text_cfg"]
    layers = ours["architecture"] | {"text_cfg": text | {"layers": 10**9}}
    wide = ours["architecture"] | {"text_cfg": text | {"width": 10**6}}
    tree = {"name": "x", "nodes": ["fake", "a", f"../../../..{victim}"], "edges": {"fake": ["a"], "a": []}}
    claims = {key: torch.zeros((), dtype=value.dtype).expand(value.shape) for key, value in good.items()}
    giant = {key: torch.zeros(()).expand([n * 100 for n in value.shape]) for key, value in good.items()}
    return {
        "os.system": (saved({"model": system}), "wants to load posix.system"),
        "os.system, protocol 4": (saved({"model": system}, pickle_protocol=4), "refused"),
        "os.system, bare pickle": (pickle.dumps(system), "refused"),
        "os.system, old format": (saved({"model": system}, _use_new_zipfile_serialization=False), "refused"),
        "builtins.eval": (saved({"model": Call(eval, f"open({str(victim)!r}, 'w')")}), "wants to load"),
        "builtins.exec": (saved({"model": Call(exec, f"open({str(victim)!r}, 'w')")}), "wants to load"),
        "subprocess": (saved({"model": Call(subprocess.call, ["touch", str(victim)])}), "wants to load"),
        "archive in an archive": (in_a_zip(saved({"model": system})), "refused|cannot be read"),
        "zip bomb, pickle": (rewritten(saved(ours), zipfile.ZIP_DEFLATED, data__pkl=1 << 32), "unpack to"),
        "zip bomb, weights": (rewritten(saved(ours), zipfile.ZIP_DEFLATED, data__0=1 << 32), "unpack to"),
        "weights of one number": (saved({"model": claims}), "claim more numbers"),
        "weights of 10^13 numbers": (saved({"model": giant}), "claim more numbers"),
        "sparse weights": (saved(changed(good, **{bias: torch.zeros(64).to_sparse()})), "wants to load"),
        "complex weights": (saved(changed(good, **{bias: torch.zeros(64, dtype=torch.cfloat)})), "no plain tensor"),
        "quantized weights": (saved(changed(good, **{bias: quantized})), "wants to load"),
        "meta weights": (saved(changed(good, **{bias: torch.zeros(64, device="meta")})), "wants to load"),
        "float8 weights": (saved(changed(good, **{bias: torch.zeros(64).to(torch.float8_e4m3fn)})), "no plain tensor"),
        "nested weights": (saved(changed(good, **{bias: nested})), "wants to load"),
        "10^9 layers": (saved(ours | {"architecture": layers}), "more layers than weights"),
        "width of 10^6": (saved(ours | {"architecture": wide}), "wrong shapes|cannot be built"),
        "node named as a path": (saved(ours | {"tree": tree}), "is no name for a tree or node"),
        "wrong shape": (saved(changed(good, **{bias: torch.zeros(3)})), "wrong shapes for 1 weights.*ln_pre.bias"),
        "NaN": (saved(changed(good, **{bias: torch.full((64,), torch.nan)})), "NaN .*visual.ln_pre.bias"),
        "missing key": (saved({"model": {k: v for k, v in good.items() if k != "visual.ln_pre.bias"}}), "lacks 1 "),
        "extra weight": (saved(changed(good, visual__extra=torch.zeros(3))), "unknown 1 weights.*visual.extra"),
        **{name: (with_pickle(operations), words) for name, (operations, words) in HOSTILE.items()},
        "truncated": (saved({"model": good})[:-1000], "truncated"),
        "a list": (saved([1, 2]), "holds a list"),
        "empty": (b"", "cannot be read"),
        "text": (b"hello\n" * 99, "refused|cannot be read"),
    }


@pytest.mark.parametrize("door", DOORS)
def test_every_door_refuses_with_a_reason(door, doors, hostile, victim, tmp_path, capsys, account):
    main, _, arguments = doors[door]
    path, started, outcomes = tmp_path / "hostile.pth", time.perf_counter(), []
    for name, (content, words) in hostile.items():
        if name in BOMBS:
            continue  # in processes of their own, below
        path.write_bytes(content)
        code = main([*arguments, str(path)])
        reason = refusal(code, capsys.readouterr().err)
        assert not victim.exists(), name
        general = {"resume": "cannot be resumed", "retinaface": "does not fit retinaface: it lacks|no model weights"}
        assert re.search(f"{words}|{general.get(door, words)}", reason), (name, reason)
        outcomes.append("refused")
    assert not list((tmp_path / "out").rglob("*.pth")) and not list((tmp_path / "out").rglob("*.json"))
    assert door != "retinaface" or not (tmp_path / "out").exists()
    account(f"checkpoints, {door}", outcomes, seconds=time.perf_counter() - started)


@pytest.mark.parametrize("door", DOORS)
def test_bombs_take_neither_memory_nor_time(door, doors, hostile, tmp_path, account):
    _, script, arguments = doors[door]
    runs = []
    for name in BOMBS:
        (tmp_path / "hostile.pth").write_bytes(hostile[name][0])
        runs.append(run_script(tmp_path, script, *arguments, tmp_path / "hostile.pth"))
        refusal(runs[-1].code, runs[-1].err)
        assert runs[-1].megabytes < 1500 and runs[-1].seconds < 60, (name, runs[-1])
    account(f"checkpoint bombs, {door}", ["refused"] * 3, max(r.megabytes for r in runs), max(r.seconds for r in runs))


def test_what_else_a_checkpoint_holds_is_left_alone(tmp_path, doors, ours, capsys):
    """Users' checkpoints carry more than ours do; what is no weight does no harm."""
    main, _, arguments = doors["test"]
    torch.save(ours | {"notes": "mine", "ema_decay": 0.9, "history": [1, 2]}, tmp_path / "more.pth")
    assert main([*arguments, str(tmp_path / "more.pth")]) == 0


def damaged_runs(run):
    """Name -> the content of a ckpt_last.pth, one part of which is odd."""
    args, progress, trainer = run["args"], run["progress"], run["trainer"]
    parts = {
        "args": [5, {}, args | {"batch_size": "8"}, args | {"batch_size": -1}, args | {"initial_lr": float("nan")},
                 args | {"num_workers": 0.5}, args | {"weight": "x"}, args | {"freeze": 3}, args | {"seed": 10**30},
                 args | {"txt_path_train": "/dev/zero"}, args | {"aug": "yes"}],
        "progress": [5, progress | {"epoch": "x"}, progress | {"epoch": -1}, progress | {"losses": [1.0]},
                     progress | {"step": 10**9}, progress | {"best": {"score": "x"}}, progress | {"x": 1}],
        "trainer": [None, {}, trainer | {"optimizer": {}}, trainer | {"weighting": {"values": torch.zeros(7)}},
                    trainer | {"optimizer": trainer["optimizer"] | {"state": {0: {"exp_avg": torch.zeros(2)}}}},
                    trainer | {"optimizer": trainer["optimizer"] | {"param_groups": [
                        group | {"betas": "x"} for group in trainer["optimizer"]["param_groups"]]}}],
        "rng": [None, {}, run["rng"] | {"torch": torch.zeros(3)}, run["rng"] | {"numpy": []}],
        "data_hash": [None, "x"],
    }  # fmt: skip
    return {f"{key} {i}": run | {key: value} for key, values in parts.items() for i, value in enumerate(values)}


def test_damaged_runs_cannot_be_resumed(tmp_path, crop_lists, capsys, account):
    lists = ["--txt_path_train", str(crop_lists[0]), "--txt_path_val", str(crop_lists[1]), "--num_workers", "0"]
    argv = [*lists, "--VM", "demo", "--batch_size", "8", "--output", str(tmp_path), "--name", "run", "--tag", "a"]
    assert SJEDD_train_FFpp.main([*argv, "--num_epoch", "1"]) == 0
    last = tmp_path / "run" / "a" / "ckpt_last.pth"
    run, started, outcomes = torch.load(last, weights_only=True), time.perf_counter(), []
    assert SJEDD_train_FFpp.main(["--resume", str(last), "--num_epoch", "2"]) == 0
    capsys.readouterr()
    for name, content in damaged_runs(run).items():
        torch.save(content, last)
        try:
            code = SJEDD_train_FFpp.main(["--resume", str(last), "--num_epoch", "2"])
        except Exception as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
        assert code == 2, name
        refusal(code, capsys.readouterr().err)
        outcomes.append("refused")
    account("runs to resume with a damaged part", outcomes, seconds=time.perf_counter() - started)
