import numpy as np
import pytest
import torch
from PIL import Image

from datasets import transforms
from datasets.transforms import ImageError, augment, normalise, read_image, resize

pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module")
def crop(golden_crops):
    return read_image(golden_crops / "RealCDF" / "id0_0000" / "0000.png")


def test_resize_is_pils_bit_for_bit_also_when_not_square(crop):
    for image in (crop, crop[:150]):
        expected = np.array(Image.fromarray(image).resize((112, 112), Image.BICUBIC))
        assert np.array_equal(resize(image, 112), expected)


def test_normalise_is_clips():
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = (images.double() / 255 - torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)) / torch.tensor(
        [0.26862954, 0.26130258, 0.27577711]
    ).view(3, 1, 1)
    assert torch.allclose(normalise(images).double(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.png", None, "missing_file"),
        ("text.png", b"hello", "unreadable_image: no PNG, JPEG"),
        ("empty.png", b"", "unreadable_image"),
        ("truncated.png", "half", "unreadable_image"),
        ("broken.png", "flipped", "unreadable_image"),
    ],
)
def test_unreadable_images_give_a_reason(tmp_path, golden_crops, name, content, reason):
    good = (golden_crops / "RealCDF" / "id0_0000" / "0000.png").read_bytes()
    if content == "half":
        content = good[: len(good) // 2]
    elif content == "flipped":
        content = good[:40] + bytes(60) + good[100:]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(tmp_path / name)
    assert str(tmp_path) not in str(caught.value), "equal reasons of many files must group"


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_colour_modes_become_rgb(tmp_path, crop, mode):
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    Image.fromarray(crop).convert(mode).save(path)
    assert read_image(path).shape == crop.shape


def test_augment_applies_to_the_asked_share_and_draws_all_five_evenly(crop, monkeypatch):
    calls = []
    spies = tuple(
        lambda image, level, rng, name=p.__name__: calls.append((name, level)) or image
        for p in transforms._PERTURBATIONS
    )
    monkeypatch.setattr(transforms, "_PERTURBATIONS", spies)
    for i in range(4000):
        augment(crop, 0.3, np.random.default_rng(i))
    assert len(calls) == pytest.approx(1200, abs=100)
    counts = {key: calls.count(key) for key in set(calls)}
    assert len(counts) == 10
    assert min(counts.values()) > 80


@pytest.mark.parametrize("perturbation", transforms._PERTURBATIONS, ids=lambda p: p.__name__)
@pytest.mark.parametrize("level", [0, 1])
def test_perturbations_keep_the_form_change_the_image_and_repeat_with_the_seed(crop, perturbation, level):
    image = np.asarray(Image.fromarray(crop).resize((317, 317)))
    before = image.copy()
    out = perturbation(image, level, np.random.default_rng(5))
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    assert 0 < np.abs(out.astype(int) - image).mean() < 20
    assert np.array_equal(image, before)
    assert np.array_equal(out, perturbation(image, level, np.random.default_rng(5)))


def test_noise_is_studio_swing_in_luma():
    grey = np.full((317, 317, 3), 128, np.uint8)
    luma = np.array([0.299, 0.587, 0.114])
    for level, expected in ((0, 9.39), (1, 13.28)):
        noisy = transforms._gaussian_noise(grey, level, np.random.default_rng(0)).astype(float)
        assert (noisy @ luma).std() == pytest.approx(expected, rel=0.02)


def test_blocks_are_grey_and_counted_by_size():
    image = np.zeros((317, 317, 3), np.uint8)
    for level, count in ((0, 16), (1, 32)):
        out = transforms._blocks(image, level, np.random.default_rng(0))
        assert set(np.unique(out)) == {0, 128}
        assert (out[..., 0] == 128).sum() <= count * 64
        assert (out[..., 0] == 128).sum() > count * 64 * 0.8
    assert not transforms._blocks(image[:200, :200], 1, np.random.default_rng(0)).any(), "none below 256 px"


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_more_than_8_bits_a_channel_is_refused_not_clipped(tmp_path, dtype):
    Image.fromarray(np.full((8, 8), 300, dtype)).save(tmp_path / "deep.tif")
    with pytest.raises(ImageError, match="8 bits a channel"):
        read_image(tmp_path / "deep.tif")
