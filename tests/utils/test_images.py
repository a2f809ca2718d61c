"""Image files that cost more time than they seem to."""

import io
import time

import numpy as np
import pytest
import skimage.data
from PIL import Image

from utils.images import DamagedImageError, open_image, read_rgb

SCAN = b"\xff\xda"


def jpeg_of_scans(number, **options):
    """A JPEG file whose last scan is there ``number`` times more."""
    buffer = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(buffer, "JPEG", quality=5, **options)
    content = buffer.getvalue()
    return content[:-2] + content[content.rfind(SCAN) : -2] * number + b"\xff\xd9"


def test_a_progressive_jpeg_of_many_scans_is_refused_before_it_is_decoded(tmp_path):
    (tmp_path / "many.jpg").write_bytes(jpeg_of_scans(20_000, progressive=True))
    with pytest.raises(DamagedImageError, match=r"a JPEG of 200\d\d scans, more than 100"):
        read_rgb(tmp_path / "many.jpg")
    with pytest.raises(OSError, match="scans"), open_image(tmp_path / "many.jpg"):
        pass
    (tmp_path / "some.jpg").write_bytes(jpeg_of_scans(50, progressive=True))
    assert read_rgb(tmp_path / "some.jpg").shape == (512, 512, 3)


def test_a_plain_jpeg_of_many_scans_costs_no_time(tmp_path):
    (tmp_path / "many.jpg").write_bytes(jpeg_of_scans(20_000))
    started = time.process_time()
    with pytest.raises(DamagedImageError, match="broken data stream"):
        read_rgb(tmp_path / "many.jpg")
    assert time.process_time() - started < 1
    photo = Image.fromarray(skimage.data.astronaut())
    photo.save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=[photo.rotate(90)])
    assert np.abs(read_rgb(tmp_path / "two.jpg").astype(int) - skimage.data.astronaut()).mean() < 5
    for mode in ("L", "CMYK", "RGB"):
        Image.fromarray(skimage.data.astronaut()).convert(mode).save(tmp_path / f"{mode}.jpg")
        assert read_rgb(tmp_path / f"{mode}.jpg").shape == (512, 512, 3)
