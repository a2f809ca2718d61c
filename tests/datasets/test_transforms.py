import hashlib
import io
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from datasets import augmentation, transforms
from datasets.augmentation import KINDS, QUALITIES, Draw, apply_draw, augment, draw_augmentation
from datasets.transforms import (
    ImageError,
    gaussian_blur,
    grey_places,
    jpeg,
    normalise,
    pixelate,
    read_image,
    resize,
    resize_for_training,
)

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
    draws = []
    monkeypatch.setattr(augmentation, "apply_draw", lambda image, draw, rng: draws.append(draw) or image)
    for i in range(4000):
        augment(crop, 0.3, np.random.default_rng(i))
    assert len(draws) == pytest.approx(1200, abs=100)
    kinds = [draw.kind for draw in draws]
    assert set(kinds) == set(KINDS)
    assert min(map(kinds.count, KINDS)) > 160
    strengths = [(draw.kind, draw.strength) for draw in draws]
    assert len(set(strengths)) == 11
    assert min(map(strengths.count, strengths)) > 55


def reference_augment(image, probability, rng):
    """The draws one by one, as they were when the published figures were made."""
    if rng.random() >= probability:
        return image
    kind, level, (height, width) = rng.integers(5), int(rng.integers(2)), image.shape[:2]
    if kind == 0:
        out = image.copy()
        for _ in range(min(height, width) // 256 * (16, 32)[level]):
            y, x = rng.integers(max(height - 8, 0) + 1), rng.integers(max(width - 8, 0) + 1)
            out[y : y + 8, x : x + 8] = 128
        return out
    if kind == 1:
        ycbcr = (image.astype(np.float32) / 255) @ transforms.TO_YCBCR.T
        noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(255 * (0.001, 0.002)[level] ** 0.5)
        rgb = (ycbcr + noise) @ transforms.FROM_YCBCR.T
        return np.clip(np.rint(rgb * 255), 0, 255).astype(np.uint8)
    if kind == 2:
        return gaussian_blur(image, (7, 9)[level])
    if kind == 3:
        return pixelate(image, (2, 3)[level])
    return jpeg(image, int(rng.choice((75, 80, 90))))


@pytest.mark.parametrize("shape", [(317, 317), (200, 300), (560, 520), (5, 270)])
def test_augment_is_to_the_bit_what_one_draw_after_the_other_gives(crop, shape):
    image = np.asarray(Image.fromarray(crop).resize(shape[::-1]))
    for i in range(60):
        draws = np.random.default_rng(i), np.random.default_rng(i)
        assert np.array_equal(augment(image, 0.9, draws[0]), reference_augment(image, 0.9, draws[1]))
        assert draws[0].bit_generator.state == draws[1].bit_generator.state


def test_defaults_draw_what_the_first_version_drew():
    draws = [draw_augmentation(317, 317, 1.0, np.random.default_rng((7, 0, 0, i))) for i in range(12)]
    assert [(draw.kind, draw.parameter) for draw in draws] == [
        *[("pixelation", 3), ("noise", 0.001), ("noise", 0.002), ("blocks", 32), ("pixelation", 3), ("blur", 9)],
        *[("blocks", 16), ("jpeg", 90), ("blur", 7), ("pixelation", 2), ("jpeg", 80), ("jpeg", 75)],
    ]
    digest = hashlib.sha256()
    for i in range(200):
        rng = np.random.default_rng((7, 1, 0, i))
        draw = draw_augmentation(317, 317, 0.9, rng)
        what = None if draw is None else (draw.kind, draw.parameter, draw.places.tolist())
        digest.update(repr(what).encode() + repr(int(rng.integers(2**63))).encode())
    assert digest.hexdigest() == "0342d7c3afb2062418676085bb152c3b9a21797aba4131b21d85701639d2d574"


def test_flips_have_their_share_are_pils_and_change_no_other_draw(crop):
    mirrored = np.asarray(ImageOps.mirror(Image.fromarray(crop)))
    flips = [not np.array_equal(augment(crop, 0.0, np.random.default_rng(i), flip=0.3), crop) for i in range(1000)]
    assert sum(flips) == pytest.approx(300, abs=60)
    for i in range(20):
        rng = np.random.default_rng(i)
        rng.random()
        expected = augment(mirrored, 0.9, rng)
        assert np.array_equal(augment(crop, 0.9, np.random.default_rng(i), flip=1.0), expected)


def test_jpeg_qualities_are_uniform_in_their_range_and_pils(crop):
    draws = [draw_augmentation(317, 317, 1.0, np.random.default_rng(i), range(40, 50)) for i in range(5000)]
    qualities = Counter(draw.parameter for draw in draws if draw.kind == "jpeg")
    assert set(qualities) == set(range(40, 50))
    assert min(qualities.values()) > 60 and max(qualities.values()) < 140  # 100 each, deviation 10
    draw = next(draw for draw in draws if draw.kind == "jpeg")
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "JPEG", quality=draw.parameter)
    assert np.array_equal(apply_draw(crop, draw, np.random.default_rng(0)), np.asarray(Image.open(buffer)))


@pytest.mark.parametrize(
    ("kind", "strength"), [(kind, i) for kind in KINDS[:-1] for i in range(2)] + [("jpeg", i) for i in QUALITIES]
)
def test_perturbations_keep_the_form_change_the_image_and_repeat_with_the_seed(crop, kind, strength):
    image = np.asarray(Image.fromarray(crop).resize((317, 317)))
    before = image.copy()
    draw = Draw(kind, strength, grey_places(317, 317, 16, np.random.default_rng(4)) if kind == "blocks" else None)
    out = apply_draw(image, draw, np.random.default_rng(5))
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    assert 0 < np.abs(out.astype(int) - image).mean() < 20
    assert np.array_equal(image, before)
    assert np.array_equal(out, apply_draw(image, draw, np.random.default_rng(5)))


def test_noise_is_studio_swing_in_luma():
    grey = np.full((317, 317, 3), 128, np.uint8)
    luma = np.array([0.299, 0.587, 0.114])
    for strength, expected in ((0, 9.39), (1, 13.28)):
        noisy = apply_draw(grey, Draw("noise", strength), np.random.default_rng(0)).astype(float)
        assert (noisy @ luma).std() == pytest.approx(expected, rel=0.02)


def drawn_blocks(height, width, strength):
    """The first draw of blocks of this strength that some seed gives."""
    draws = (draw_augmentation(height, width, 1.0, np.random.default_rng(i)) for i in range(1000))
    return next(draw for draw in draws if (draw.kind, draw.strength) == ("blocks", strength))


def test_blocks_are_grey_and_counted_by_size():
    image = np.zeros((317, 317, 3), np.uint8)
    for strength, count in ((0, 16), (1, 32)):
        out = apply_draw(image, drawn_blocks(317, 317, strength), np.random.default_rng(0))
        assert set(np.unique(out)) == {0, 128}
        assert (out[..., 0] == 128).sum() <= count * 64
        assert (out[..., 0] == 128).sum() > count * 64 * 0.8
    assert not len(drawn_blocks(200, 200, 1).places), "none below 256 px"


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_more_than_8_bits_a_channel_is_refused_not_clipped(tmp_path, dtype):
    Image.fromarray(np.full((8, 8), 300, dtype)).save(tmp_path / "deep.tif")
    with pytest.raises(ImageError, match="8 bits per channel"):
        read_image(tmp_path / "deep.tif")


@pytest.mark.numeric
@pytest.mark.parametrize("shape", [(317, 317), (120, 200), (64, 64)])
def test_resize_for_training_is_near_pils(crop, shape):
    image = np.asarray(Image.fromarray(crop).resize(shape))
    image.setflags(write=False)  # as the crops of a cache are
    noise = np.random.default_rng(0).integers(0, 256, image.shape, dtype=np.uint8)
    for pixels in (image, noise):
        difference = np.abs(resize_for_training(pixels, 112).astype(int) - resize(pixels, 112))
        assert (difference <= 1).mean() >= 0.999, "two levels where noise is enlarged"
        assert (difference > 0).mean() < 0.02, "0.5% here"
