import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets import perturbations
from datasets.perturbations import (
    SUITE,
    CompressedVideos,
    Perturbation,
    compress_clip,
    compression_unavailable,
    parse_perturbation,
    perturb,
    record_rng,
    whole_suite,
)
from datasets.records import Record
from datasets.transforms import ImageError, ImageFiles, read_image
from tests.conftest import DATA
from utils.cli import UserError

pytestmark = pytest.mark.numeric

RECORD = Record("faces/000_003/0007.png", "000_003", 1)
LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="module")
def crop():
    return read_image(DATA / "align_astronaut_317.png")


def perturbed(image, text, seed=0, record=RECORD):
    perturbation = parse_perturbation(text)
    return perturb(image, perturbation, record_rng(seed, perturbation.name, record))


def psnr(a, b):
    return 10 * np.log10(255**2 / ((a.astype(float) - b) ** 2).mean())


def test_the_suite_is_the_one_users_compare_on():
    assert SUITE == {
        "saturation": (0.4, 0.3, 0.2, 0.1, 0.0),
        "contrast": (0.85, 0.725, 0.6, 0.475, 0.35),
        "blockwise": (16, 32, 48, 64, 80),
        "noise": (0.001, 0.002, 0.005, 0.01, 0.05),
        "blur": (7, 9, 13, 17, 21),
        "pixelation": (2, 3, 4, 5, 6),
        "compression": (30, 32, 35, 38, 40),
    }
    assert len(whole_suite()) == 35
    assert [parse_perturbation(str(perturbation)) for perturbation in whole_suite()] == whole_suite()
    assert parse_perturbation("noise:5") == Perturbation("noise", 5)
    assert parse_perturbation("noise:5").parameter == 0.05


@pytest.mark.parametrize("text", ["", "noise", "noise:0", "noise:6", "noise:-1", "noise:1.0", "Noise:1", "fog:1", ":1"])
def test_another_text_is_refused_with_the_names(text):
    with pytest.raises(UserError, match=r"NAME:LEVEL.*saturation, contrast, blockwise, noise, blur, pixelation, comp"):
        parse_perturbation(text)


@pytest.mark.parametrize("perturbation", whole_suite(), ids=str)
def test_form_is_kept_input_untouched_and_every_level_repeats(crop, perturbation):
    image = crop[:301, :280].copy()
    out = perturbed(image, str(perturbation))
    assert (out.shape, out.dtype) == (image.shape, np.uint8)
    assert not np.array_equal(out, image)
    assert np.array_equal(image, crop[:301, :280])
    assert np.array_equal(out, perturbed(image, str(perturbation)))


@pytest.mark.parametrize("name", SUITE)
def test_each_level_is_worse_than_the_one_before(crop, name):
    quality = [psnr(crop, perturbed(crop, f"{name}:{level}")) for level in range(1, 6)]
    assert quality == sorted(quality, reverse=True)
    assert len(set(quality)) == 5


@pytest.mark.parametrize(("name", "random"), [("noise", True), ("blockwise", True), ("blur", False)])
def test_draws_come_from_seed_video_and_frame(crop, name, random):
    same = perturbed(crop, f"{name}:2", record=Record("elsewhere/0007.jpg", "000_003", 0))
    assert np.array_equal(same, perturbed(crop, f"{name}:2"))
    others = [
        perturbed(crop, f"{name}:2", seed=1),
        perturbed(crop, f"{name}:2", record=Record("0008.png", "000_003", 1)),
        perturbed(crop, f"{name}:2", record=Record("0007.png", "000_004", 1)),
    ]
    assert [np.array_equal(same, other) for other in others] == [not random] * 3
    spelled = [Record(path, path, 1) for path in ("a/0007.png", "/data/x/../a/0007.png")]
    assert np.array_equal(*(perturbed(crop, f"{name}:2", record=record) for record in spelled))


def test_saturation_scales_chroma_and_keeps_luma(crop):
    ycc = cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb)
    for level, factor in enumerate(SUITE["saturation"], start=1):
        expected = ycc.copy()
        expected[..., 1:] = 0.5 + (expected[..., 1:] - 0.5) * factor
        out = perturbed(crop, f"saturation:{level}")
        assert np.abs(out - 255.0 * cv2.cvtColor(expected, cv2.COLOR_YCrCb2RGB)).max() < 0.52, "rounding"
    assert (out == out[..., :1]).all()
    assert np.abs(out[..., 0] - crop @ LUMA).max() < 0.51


def test_contrast_scales_towards_black(crop):
    for level, factor in enumerate(SUITE["contrast"], start=1):
        assert np.abs(perturbed(crop, f"contrast:{level}") - factor * crop).max() < 0.5001


@pytest.mark.parametrize(("side", "share"), [(200, 1), (317, 1), (520, 2)])
def test_blocks_grow_with_the_level_and_the_size(side, share):
    before = np.zeros((side, side), bool)
    for level, count in enumerate(SUITE["blockwise"], start=1):
        out = perturbed(np.zeros((side, side + 40, 3), np.uint8), f"blockwise:{level}")
        assert set(np.unique(out)) == {0, 128}
        grey = out[:, :side, 0] == 128
        assert (before <= grey).all(), "the blocks of a lower level are among those of a higher one"
        assert 0.7 * share * count * 64 < (out[..., 0] == 128).sum() <= share * count * 64
        before = grey


def test_noise_has_its_variance_in_y_cb_and_cr():
    grey = np.full((317, 317, 3), 128, np.uint8)
    for level, variance in enumerate(SUITE["noise"][:3], start=1):  # beyond, values are clipped
        rgb = perturbed(grey, f"noise:{level}").astype(float)
        y = rgb @ LUMA
        sigma = 255 * variance**0.5
        assert y.std() == pytest.approx(sigma * 255 / 219, rel=0.02)
        assert ((rgb[..., 2] - y) / 1.772).std() == pytest.approx(sigma * 255 / 224, rel=0.03)
        assert ((rgb[..., 0] - y) / 1.402).std() == pytest.approx(sigma * 255 / 224, rel=0.03)
        assert rgb.mean() == pytest.approx(128, abs=0.5)


def test_blur_is_cv2s(crop):
    for level, kernel in enumerate(SUITE["blur"], start=1):
        expected = cv2.GaussianBlur(crop, (kernel, kernel), kernel / 6)
        assert np.array_equal(perturbed(crop, f"blur:{level}"), expected)


def test_pixelation_keeps_one_value_for_every_block(crop):
    image = crop[:300, :300]
    for level, factor in enumerate(SUITE["pixelation"], start=1):
        small = cv2.resize(image, (300 // factor, 300 // factor), interpolation=cv2.INTER_LINEAR)
        out = perturbed(image, f"pixelation:{level}")
        assert np.array_equal(out, cv2.resize(small, (300, 300), interpolation=cv2.INTER_LINEAR))
        if factor % 2:  # the middle pixel of a block is the block's own value
            assert np.array_equal(out[factor // 2 :: factor, factor // 2 :: factor], small)


@pytest.mark.parametrize("size", [(317, 317), (316, 301), (64, 64), (1, 1)])
@pytest.mark.parametrize("frames", [1, 5])
def test_a_clip_keeps_number_size_and_order(crop, size, frames):
    clip = [np.clip(crop[: size[0], : size[1]] // 2 + 25 * i, 0, 255).astype(np.uint8) for i in range(frames)]
    out = compress_clip(clip, 30)
    assert [frame.shape for frame in out] == [(*size, 3)] * frames
    assert all(frame.dtype == np.uint8 for frame in out)
    assert all(abs(a.mean() - b.mean()) < 3 for a, b in zip(clip, out, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(out, compress_clip(clip, 30), strict=True))


def test_a_clip_of_high_quality_is_the_frames_again(crop):
    clip = [crop, crop[::-1].copy(), crop]
    for before, after in zip(clip, compress_clip(clip, 1), strict=True):
        assert psnr(before, after) > 40
        assert np.abs((after.astype(float) - before).mean((0, 1))).max() < 0.2, "no shift of colour"
        # The right and lower edge, where the size is odd, are no worse.
        assert psnr(before[-1], after[-1]) > 38
        assert psnr(before[:, -1], after[:, -1]) > 38


def test_compressed_video_is_read_once_with_its_sizes_apart(crop, tmp_path, monkeypatch):
    sizes = [317, 200, 317, 200]
    records = []
    for video in ("a", "b"):
        for i, size in enumerate(sizes):
            Image.fromarray(crop[:size, :size]).save(tmp_path / f"{video}{i}.png")
            records.append(Record(str(tmp_path / f"{video}{i}.png"), video, 0))
    calls = []

    def spy(frames, crf):
        calls.append((frames[0].shape[0], len(frames), crf))
        return compress_clip(frames, crf)

    monkeypatch.setattr(perturbations, "compress_clip", spy)
    videos = CompressedVideos(ImageFiles(records), records, 35)
    assert [videos.read(index).shape[0] for index in range(8)] == sizes * 2
    assert calls == [(317, 2, 35), (200, 2, 35)] * 2
    assert np.array_equal(videos.read(3), compress_clip([crop[:200, :200]] * 2, 35)[1])


def test_a_clip_has_its_frames_in_order_of_their_numbers(crop, tmp_path, monkeypatch):
    numbers = [10, 9, 100, 1]
    for number in numbers:
        Image.fromarray(np.full_like(crop, number)).save(tmp_path / f"{number}.png")
    records = [Record(str(tmp_path / f"{number}.png"), "v", 0) for number in numbers]
    clips = []
    monkeypatch.setattr(perturbations, "compress_clip", lambda frames, crf: clips.append(frames) or frames)
    videos = CompressedVideos(ImageFiles(records), records, 30)
    assert [videos.read(index)[0, 0, 0] for index in range(4)] == numbers
    assert [[frame[0, 0, 0] for frame in clip] for clip in clips] == [[1, 9, 10, 100]]


def test_an_image_that_no_encoder_takes_is_dropped_with_its_reason(crop, tmp_path):
    Image.new("RGB", (20_000, 1)).save(tmp_path / "strip.png")
    Image.fromarray(crop).save(tmp_path / "crop.png")
    records = [Record(str(tmp_path / name), "v", 0) for name in ("strip.png", "crop.png")]
    videos = CompressedVideos(ImageFiles(records), records, 30)
    with pytest.raises(ImageError, match="unreadable_image: no video can be made of it"):
        videos.read(0)
    assert videos.read(1).shape == crop.shape


def test_compression_says_why_it_is_not_there(monkeypatch, tmp_path):
    assert compression_unavailable() is None
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "imageio_ffmpeg", None)
        assert "imageio-ffmpeg has no ffmpeg" in compression_unavailable()
    with monkeypatch.context() as patch:
        patch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
        assert "needs ffmpeg with libx264" in compression_unavailable()
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\necho 'Unknown encoder libx264' >&2\nexit 8\n")
    broken.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("IMAGEIO_FFMPEG_EXE", str(broken))
        assert "ffmpeg failed with code 8: Unknown encoder libx264" in compression_unavailable()


def test_scoring_does_not_need_imageio_ffmpeg():
    code = "import sys; sys.modules['imageio_ffmpeg'] = None; import datasets.frames"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=DATA.parent.parent)
