import io
import os
import re
import subprocess
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint import (
    architecture_of,
    build_model,
    load_model,
    load_weights,
    save_checkpoint,
)
from models.checkpoint_file import read_checkpoint
from models.clip_weights import ClipWeights, clip_weights
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP, FFSC
from models.tree_inference import marginals
from tests.platforms import posix_only
from utils.cli import UserError


@pytest.mark.numeric
def test_published_checkpoint_scores_as_the_reference(published_checkpoint, golden_crops, golden_expected):
    from datasets.transforms import normalise, read_image, resize

    model = load_model(published_checkpoint)
    assert model.tree is FFPP
    for video, expected in golden_expected["videos"].items():
        images = [resize(read_image(golden_crops / video / name), 224) for name in expected["frames"]]
        with torch.no_grad():
            scores = model(normalise(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)))
        p = marginals(scores, FFPP)
        assert np.abs(scores[0].numpy() - expected["scores_first_frame"]).max() < 1e-4
        assert np.abs(p[0].numpy() - expected["marginals_first_frame"]).max() < 1e-4
        assert np.abs(p[:, 0].numpy() - expected["p_fake"]).max() < 1e-4


def test_published_checkpoint_is_float32_and_its_architecture_is_read_off(published_checkpoint):
    model = load_model(published_checkpoint)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.architecture["vision_cfg"] == {"image_size": 224, "layers": 2, "width": 64, "patch_size": 32}
    assert model.architecture["text_cfg"]["heads"] == 1


@pytest.mark.parametrize("name", ["ViT-B/32", "RN50"])
def test_architecture_of_shapes_is_open_clips(name):
    config = architecture(name)
    state = JointEmbedding(config, FFPP).clip.state_dict()
    assert architecture_of(state) == {key: config[key] for key in ("embed_dim", "quick_gelu", "vision_cfg", "text_cfg")}


def test_our_checkpoint_round_trips_and_holds_plain_types(tmp_path):
    torch.manual_seed(0)
    model = JointEmbedding(architecture("demo"), FFSC)
    save_checkpoint(tmp_path / "ckpt.pth", model, epoch=3, args={"seed": 0})
    content = torch.load(tmp_path / "ckpt.pth", weights_only=True)  # no allow-list needed
    assert content["epoch"] == 3
    again = load_model(tmp_path / "ckpt.pth")
    assert again.tree is FFSC
    assert not again.training
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    assert [file.name for file in tmp_path.iterdir()] == ["ckpt.pth"], "no temporary file is left"


def test_vit_checkpoint_of_ours_has_the_published_key_layout(published_checkpoint, tmp_path):
    model = load_model(published_checkpoint)
    save_checkpoint(tmp_path / "ours.pth", model)
    published = read_checkpoint(published_checkpoint)["model"]
    assert set(torch.load(tmp_path / "ours.pth", weights_only=True)["model"]) == set(published)


def test_wrappers_and_prefixes_are_understood(published_checkpoint, tmp_path):
    state = read_checkpoint(published_checkpoint)["model"]
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "wrapped.pth")
    torch.save(dict(state), tmp_path / "bare.pth")
    expected = load_model(published_checkpoint).state_dict()
    for name in ("wrapped", "bare"):
        again = load_model(tmp_path / f"{name}.pth").state_dict()
        assert all(torch.equal(value, again[key]) for key, value in expected.items())


class _Foreign:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "payload",
    [
        (os.system, "touch {}", "posix.system"),
        (eval, "open({!r}, 'w')", "eval"),
        (subprocess.call, ["touch", "{}"], "commands.call"),  # protocol 2 writes Python 2 names
    ],
    ids=["os.system", "eval", "subprocess"],
)
def test_foreign_globals_are_refused_and_do_not_run(tmp_path, payload):
    function, argument, name = payload
    victim = str(tmp_path / "executed")
    argument = [part.format(victim) for part in argument] if isinstance(argument, list) else argument.format(victim)
    torch.save({"model": _Foreign(function, argument)}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match=rf"refused: it wants to load [\w.]*{name}"):
        load_model(tmp_path / "evil.pth")
    assert not Path(victim).exists()


def _truncated(path, state):
    torch.save({"model": state}, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _saved(content):
    return lambda path, state: torch.save(content(state), path)


BROKEN = {
    "text": (lambda path, state: path.write_text("hello"), "refused|cannot be read"),
    "empty": (lambda path, state: path.write_bytes(b""), "cannot be read"),
    "truncated": (_truncated, "cannot be read"),
    "list": (_saved(lambda state: [1, 2]), "not a dictionary"),
    "no weights": (_saved(lambda state: {"epoch": 3}), "holds no model weights"),
    "other model": (_saved(lambda state: {"model": {"fc.weight": torch.ones(2, 2)}}), "cannot be built"),
    "missing key": (_saved(lambda s: {"model": {k: v for k, v in s.items() if k != "visual.proj"}}), "built|lacks"),
    "extra key": (_saved(lambda s: {"model": s | {"visual.extra": torch.ones(1)}}), "unknown 1 weights"),
    "wrong shape": (_saved(lambda s: {"model": s | {"visual.ln_pre.bias": torch.ones(3)}}), "wrong shapes"),
    "nan": (_saved(lambda s: {"model": s | {"visual.ln_pre.bias": torch.full((64,), torch.nan)}}), "NaN"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_checkpoints_are_refused_with_the_reason(tmp_path, published_checkpoint, case):
    make, message = BROKEN[case]
    make(tmp_path / "broken.pth", dict(read_checkpoint(published_checkpoint)["model"]))
    with pytest.raises(UserError, match=message):
        load_model(tmp_path / "broken.pth")


def _compressed(content):
    source, target = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(name, bytes(1 << 24) if name.endswith("data.pkl") else source.read(name))
    return target.getvalue()


def test_an_archive_that_unpacks_to_more_than_it_holds(tmp_path):
    torch.save({"model": {"a": torch.zeros(4)}}, tmp_path / "bomb.pth")
    (tmp_path / "bomb.pth").write_bytes(_compressed((tmp_path / "bomb.pth").read_bytes()))
    with pytest.raises(UserError, match="bytes that unpack to 16777"):
        read_checkpoint(tmp_path / "bomb.pth")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (lambda shape: torch.zeros(()).expand(shape), "claim more numbers"),
        (lambda shape: torch.zeros(shape).to_sparse(), "wants to load torch._utils._rebuild_sparse_tensor"),
        (lambda shape: torch.zeros(shape, dtype=torch.cfloat), "no plain tensor"),
        (lambda shape: torch.zeros(shape, dtype=torch.float8_e4m3fn), "no plain tensor"),
        (lambda shape: torch.nested.nested_tensor([torch.zeros(shape)]), "wants to load torch"),
    ],
)
def test_weights_that_are_not_what_they_claim(tmp_path, published_checkpoint, odd, message):
    state = dict(read_checkpoint(published_checkpoint)["model"])
    torch.save({"model": state | {"visual.proj": odd(state["visual.proj"].shape)}}, tmp_path / "odd.pth")
    with pytest.raises(UserError, match=message):
        load_model(tmp_path / "odd.pth")


@posix_only
@pytest.mark.parametrize("path", [Path("/dev/zero"), None], ids=["device", "pipe"])
def test_what_has_no_end_is_no_checkpoint(tmp_path, path):
    if path is None:
        path = tmp_path / "pipe"
        os.mkfifo(path)
    with pytest.raises(UserError, match="a pipe or a device, not a file"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": {"embed_dim": 64}},
        {"architecture": "ViT"},
        {"tree": {"name": "x", "nodes": ["fake", "eye"], "edges": {}}},
        {"tree": 5},
        {"tree": {"name": "x", "nodes": ["fake", "a", "../b"], "edges": {"fake": ["a"], "a": ["../b"]}}},
        {"architecture": architecture("demo") | {"text_cfg": architecture("demo")["text_cfg"] | {"layers": 10**9}}},
        {"architecture": architecture("demo") | {"vision_cfg": {"image_size": 10**6, "demo_channels": [8] * 20}}},
    ],
)
def test_our_checkpoints_with_malformed_parts_are_refused(tmp_path, change):
    save_checkpoint(tmp_path / "ours.pth", JointEmbedding(architecture("demo"), FFPP))
    torch.save(torch.load(tmp_path / "ours.pth", weights_only=True) | change, tmp_path / "ours.pth")
    with pytest.raises(UserError, match="cannot be built"):
        load_model(tmp_path / "ours.pth")


@pytest.mark.parametrize("heads", [3, 0])
def test_absurd_architectures_are_refused(tmp_path, heads):
    config = architecture("demo") | {"text_cfg": architecture("demo")["text_cfg"] | {"heads": heads}}
    save_checkpoint(tmp_path / "ours.pth", JointEmbedding(architecture("demo"), FFPP))
    content = torch.load(tmp_path / "ours.pth", weights_only=True)
    torch.save(content | {"architecture": config}, tmp_path / "ours.pth")
    with pytest.raises(UserError, match="cannot be built"):
        load_model(tmp_path / "ours.pth")


def test_missing_file_and_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(UserError, match=r"does not exist|is a folder"):
            read_checkpoint(path)


def test_tree_of_the_checkpoint_wins_and_a_contradiction_is_refused(tmp_path, published_checkpoint):
    assert load_model(published_checkpoint, tree=FFSC).tree is FFSC
    save_checkpoint(tmp_path / "ours.pth", load_model(published_checkpoint))
    with pytest.raises(UserError, match="trained on the ffpp tree"):
        load_model(tmp_path / "ours.pth", tree=FFSC)


def test_local_clip_weights_in_three_formats(tmp_path, published_checkpoint):
    import safetensors.torch

    state = {key: value.float() for key, value in read_checkpoint(published_checkpoint)["model"].items()}
    torch.save({"state_dict": state}, tmp_path / "open_clip.pt")
    safetensors.torch.save_file(state, tmp_path / "open_clip.safetensors")
    for name in ("open_clip.pt", "open_clip.safetensors"):
        loaded = clip_weights("ViT-B/32", tmp_path / name).state_dict()
        assert all(torch.equal(value, loaded[key]) for key, value in state.items())
    with pytest.raises(
        UserError, match="holds ViT/32 weights, 64 wide, but the model takes ViT-B/32 weights, 768 wide"
    ):
        load_weights(JointEmbedding(architecture("ViT-B/32"), FFPP), state, "tiny.pt")


def test_openai_torchscript_archive_is_read(tmp_path, published_checkpoint):
    clip = build_model(read_checkpoint(published_checkpoint), "published").clip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(clip.visual, torch.zeros(1, 3, 224, 224)), str(tmp_path / "ViT-B-32.pt"))
    loaded = clip_weights("ViT-B/32", tmp_path / "ViT-B-32.pt").state_dict()
    assert torch.equal(loaded["proj"], clip.visual.proj)


def test_offline_download_says_which_file_to_put_where(monkeypatch, tmp_path):
    import open_clip

    import models.clip_weights as module

    def offline(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(open_clip, "download_pretrained", offline)
    monkeypatch.setattr(module, "PRETRAINED", tmp_path)
    with pytest.raises(UserError, match=r"pretrained/ViT-B-32\.pt"):
        clip_weights("ViT-B/32").state_dict()


def test_open_clips_tags_tell_activation_and_normalisation(monkeypatch, tmp_path, capsys):
    import open_clip

    import models.clip_weights as module

    monkeypatch.setattr(module, "PRETRAINED", tmp_path)
    assert clip_weights("ViT-B/32").architecture == open_clip.get_model_config("ViT-B-32-quickgelu")
    for name, tag, quick, openais, mean in (
        ("ViT-B/32", "openai", True, True, None),
        ("ViT-B/32", "laion2b_s34b_b79k", False, False, None),
        ("ViT-B-32", "openai", True, True, None),
        ("ViT-H-14-quickgelu", "dfn5b", True, False, None),
        ("ViT-L-14", "laion2b_s32b_b82k", False, False, 0.5),
        ("PE-Core-B-16", "meta", False, False, 0.5),
    ):
        weights = clip_weights(name, tag)
        assert (weights.architecture["quick_gelu"], weights.are_openais) == (quick, openais), name
        assert weights.architecture.get("preprocess_cfg", {}).get("mean") == (mean and [mean] * 3)
    (tmp_path / "ViT-L-14-laion2b_s32b_b82k.safetensors").touch()
    assert clip_weights("ViT-L-14", "laion2b_s32b_b82k").path == tmp_path / "ViT-L-14-laion2b_s32b_b82k.safetensors"
    assert clip_weights("ViT-B/32", tmp_path / "ViT-L-14-laion2b_s32b_b82k.safetensors").are_openais
    assert not clip_weights("ViT-B-32", tmp_path / "ViT-L-14-laion2b_s32b_b82k.safetensors").are_openais


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("ViT-H-14", None, "needs --pretrained: a local file, or open_clip's weights laion2b_s32b_b79k"),
        ("ViT-B-32-quickgelu", "laion2b_s34b_b79k", "it is one of ViT-B-32, which has GELU"),
        ("ViT-B-32", "none.pt", "is no file and no weights of ViT-B-32; there are open_clip's weights openai"),
        ("ViT-B/31", None, "is no model of open_clip; such as ViT-B/32"),
        ("hf-hub:some/model", None, "is no model of open_clip"),
        ("roberta-ViT-B-32", None, "is not supported: its text tower, roberta-base, needs the transformers library"),
    ],
)
def test_wrong_names_of_models_and_weights(name, pretrained, message):
    with pytest.raises(UserError, match=re.escape(message)):
        clip_weights(name, pretrained)


@pytest.mark.parametrize(
    ("name", "tag", "file", "place"),
    [
        ("ViT-B-16", "datacomp_xl_s13b_b90k", "https://huggingface.co/laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
         "pretrained/ViT-B-16-datacomp_xl_s13b_b90k.safetensors"),
        ("ViT-L-14-336-quickgelu", "openai", "ViT-L-14-336px.pt", "pretrained/ViT-L-14-336.pt"),
    ],
)  # fmt: skip
def test_offline_download_of_a_tag_says_which_file_to_put_where(monkeypatch, tmp_path, name, tag, file, place):
    import open_clip

    def offline(*_, **__):
        raise FileNotFoundError("no network")

    monkeypatch.setattr(open_clip, "download_pretrained", offline)
    with pytest.raises(UserError, match=rf"no network.*download .*{re.escape(file)}.*to {re.escape(place)}"):
        clip_weights(name, tag).state_dict()


def test_older_files_of_models_with_a_text_tower_of_their_own(tmp_path):
    config = architecture("PE-Core-T-16-384") | {"text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 64,
                                                              "heads": 1, "layers": 1}}  # fmt: skip
    model = JointEmbedding(config, FFPP)
    state = {key.removeprefix("text."): value for key, value in model.clip.state_dict().items()}
    torch.save(state | {"logit_scale": state["logit_scale"].reshape(1)}, tmp_path / "old.bin")
    weights = ClipWeights("PE-Core-T-16-384", None, tmp_path / "old.bin", config, are_openais=False)
    again = JointEmbedding(config, FFPP, empty=True)
    load_weights(again, weights.state_dict(), "old.bin")
    assert all(torch.equal(value, again.clip.state_dict()[key]) for key, value in model.clip.state_dict().items())
