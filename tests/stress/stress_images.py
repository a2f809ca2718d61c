"""Mutated and odd images as a list to score, as crops to check and to train on, and as photographs to predict."""

import io
import json
import os
import random
import struct
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from tests.stress.scripts import refusal, run_script
from utils.images import read_rgb

ASTRONAUT = Image.fromarray(skimage.data.astronaut()[:320, :448])
PIXELS_OF_CROP = ASTRONAUT.resize((96, 96))


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def giant_png(side, colour=2):
    """A PNG of side x side pixels, all black, in a few kilobytes: colour 2 RGB, 0 grey."""
    row = bytes(1 + side * (3 if colour == 2 else 1))
    packer, packed = zlib.compressobj(9), b""
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    body = b"".join(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
                    for name, data in chunks)  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + body


def odd_images(image):
    """Name -> (bytes, whether it is an image for us)."""
    exif = image.getexif()
    exif[274] = 6  # turn it by 90 degrees to see it upright
    several = {"save_all": True, "append_images": [image.rotate(9)]}
    alpha = image.convert("RGBA")
    alpha.putalpha(128)
    return {
        "plain.png": (encoded(image, "PNG"), True),
        "plain.jpg": (encoded(image, "JPEG"), True),
        "progressive.jpg": (encoded(image, "JPEG", progressive=True), True),
        "exif.jpg": (encoded(image.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95), True),
        "cmyk.jpg": (encoded(image.convert("CMYK"), "JPEG"), True),
        "grey.png": (encoded(image.convert("L"), "PNG"), True),
        "bits.png": (encoded(image.convert("1"), "PNG"), True),
        "alpha.png": (encoded(alpha, "PNG"), True),
        "grey-alpha.png": (encoded(alpha.convert("LA"), "PNG"), True),
        "palette-alpha.png": (encoded(image.convert("P"), "PNG", transparency=bytes(range(256))), True),
        "16bit.png": (encoded(Image.fromarray(np.full((64, 64), 40000, np.uint16)), "PNG"), False),
        "float.tif": (encoded(image.convert("F"), "TIFF"), False),
        "lab.tif": (encoded(image.convert("LAB"), "TIFF"), None),  # None: as PIL can
        "1x1.png": (encoded(image.resize((1, 1)), "PNG"), True),
        "1x9999.png": (encoded(image.resize((1, 9999)), "PNG"), True),
        "apng.png": (encoded(image, "PNG", **several), True),
        "webp.webp": (encoded(image, "WEBP"), True),
        "animated.webp": (encoded(image, "WEBP", **several), True),
        "gif.png": (encoded(image, "GIF", **several), False),
        "jpeg-named.png": (encoded(image, "JPEG"), True),
        "png-named.jpg": (encoded(image, "PNG"), True),
        "mpo.jpg": (encoded(image, "MPO", **several), True),
        "bomb 30000x30000.png": (giant_png(30000, 0), False),
        "claims 100000x100000.png": (_claiming(encoded(image, "PNG"), 100_000), False),
        "empty.png": (b"", False),
        "text.jpg": (b"hello\n" * 50, False),
        "svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>", False),
        "eps.jpg": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%touch x) (w) file\n",
            False,
        ),
    }


def _claiming(content, side):
    header = content[12:16] + struct.pack(">II", side, side) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def mutated(image, number, seed=0):
    """``number`` files: bits flipped in the header or anywhere, with and without right check sums, and cut off."""
    rng = random.Random(seed)
    seeds = [(name, content) for name, (content, good) in odd_images(image).items() if good and len(content) > 100]
    for i in range(number):
        name, content = rng.choice(seeds)
        content, kind = bytearray(content), rng.choice(("flips", "header", "cut", "sums"))
        for _ in range(0 if kind == "cut" else rng.choice((1, 3, 20))):
            place = rng.randrange(min(len(content), 200) if kind == "header" else len(content))
            content[place] ^= 1 << rng.randrange(8)
        if kind == "cut":
            del content[rng.randrange(len(content)) :]
        elif kind == "sums" and name.endswith(".png"):
            content = _summed(content)
        yield f"{kind}{i:03d} {name}", bytes(content)


def _summed(content):
    """A PNG with the right check sums."""
    place = 8
    while place + 12 <= len(content):
        length = struct.unpack(">I", content[place : place + 4])[0]
        if place + 12 + length > len(content):
            break
        total = zlib.crc32(bytes(content[place + 4 : place + 8 + length]))
        content[place + 8 + length : place + 12 + length] = struct.pack(">I", total)
        place += 12 + length
    return content


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """(folder of 200 mutated and 28 odd images, the names of which all is known: -> is it an image)."""
    folder = tmp_path_factory.mktemp("hostile")
    known = {}
    for name, (content, good) in odd_images(PIXELS_OF_CROP).items():
        (folder / name).write_bytes(content)
        known[name] = good
    for name, content in mutated(PIXELS_OF_CROP, 200):
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "folder.png").mkdir()
    return folder, known | dict.fromkeys(("pipe.png", "zero.png", "loop.png", "folder.png"), False)


def csv_of(folder, path):
    """All images of a folder, real and fake in turn, as a list whose missing images are dropped."""
    names = sorted(file.name for file in folder.iterdir())
    path.write_text("path,label\n" + "".join(f'"{folder / name}",{i % 2}\n' for i, name in enumerate(names)))
    return names


def test_a_list_of_them_is_scored_or_dropped_with_a_reason(hostile, published_checkpoint, tmp_path, account):
    folder, known = hostile
    names = csv_of(folder, tmp_path / "list.csv")
    run = run_script(tmp_path, "SJEDD_test.py", "--dataset", "csv", "--datapath", tmp_path / "list.csv", "--resume",
                     published_checkpoint, "--output", tmp_path / "out", "--num_workers", 2)  # fmt: skip
    assert run.code == 0, run.err
    assert "Traceback" not in run.err and "Warning" not in run.err, run.err
    metrics = json.loads((tmp_path / "out" / "SJEDD_test" / "csv" / "metrics.json").read_text())
    dropped = {Path(entry["path"]).name: entry["reason"] for entry in metrics["dropped"]}
    assert metrics["frames"] + len(dropped) == len(names)
    for name, good in known.items():
        assert good is None or good == (name not in dropped), (name, dropped.get(name))
    assert all(reason.startswith(("unreadable_image: ", "missing_file")) for reason in dropped.values())
    outcomes = ["scored"] * metrics["frames"] + [reason.split(":")[0] for reason in dropped.values()]
    account("images in a list, SJEDD_test.py", outcomes, run.megabytes, run.seconds)
    assert run.megabytes < 2000


def test_pixels_are_what_a_viewer_shows(hostile):
    """Of what can be read: CMYK is converted, alpha left out, the first of several pictures taken."""
    folder, _ = hostile
    plain = np.asarray(PIXELS_OF_CROP, int)
    for name in ("plain.jpg", "cmyk.jpg", "alpha.png", "apng.png", "animated.webp", "webp.webp", "mpo.jpg"):
        assert np.abs(read_rgb(folder / name) - plain).mean() < 9, name
    assert np.abs(read_rgb(folder / "exif.jpg", upright=True) - plain).mean() < 9
    assert read_rgb(folder / "1x9999.png").shape == (9999, 1, 3)


def test_check_data_finds_them(hostile, tmp_path, account):
    folder, known = hostile
    names = [file.name for file in sorted(folder.iterdir())]
    lines = [f"{folder / name} {('1000000000', '0101011111')[i % 2]}" for i, name in enumerate(names)]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    run = run_script(tmp_path, "SJEDD_check_data.py", "--txt_path_train", tmp_path / "list.txt", "--deep", "--json",
                     "--workers", 2)  # fmt: skip
    refusal(run.code, run.err)
    findings = json.loads(run.out)["findings"]
    kinds = Counter(finding["kind"] for finding in findings)
    unusable = [finding for finding in findings if finding["kind"] in ("unreadable_image", "missing_file")]
    found = {names[finding["line"] - 1] for finding in unusable}
    for name, good in known.items():
        assert good is None or good == (name not in found), name
    outcomes = [kind for kind, number in kinds.items() for _ in range(number)]
    account("images in a list, SJEDD_check_data.py --deep (findings)", outcomes, run.megabytes, run.seconds)


def test_training_names_the_first_that_cannot_be_read(hostile, tmp_path, account):
    folder, _ = hostile
    crops = sorted(path for path in folder.iterdir() if path.is_file())
    lines = [f"{path} {('1000000000', '0101011111')[i % 2]}" for i, path in enumerate(crops)]
    for name in ("train", "val"):
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    lists = [f"--txt_path_{name}={tmp_path / name}.txt" for name in ("train", "val")]
    run = run_script(tmp_path, "SJEDD_train_FFpp.py", *lists, "--VM", "demo", "--output", tmp_path / "out",
                     "--num_workers", 2, "--num_epoch", 1, "--batch_size", 64)  # fmt: skip
    assert "fix the image or remove its line" in refusal(run.code, run.err)
    account("images in a list, SJEDD_train_FFpp.py", ["refused, the first named"], run.megabytes, run.seconds)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for name, (content, _) in odd_images(ASTRONAUT).items():
        (folder / name).write_bytes(content)
    for name, content in mutated(ASTRONAUT, 60, seed=1):
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    return folder


def test_predict_tells_of_each_what_became_of_it(photographs, published_checkpoint, tmp_path, account):
    run = run_script(tmp_path, "SJEDD_predict.py", "--input", photographs, "--resume", published_checkpoint,
                     "--output", tmp_path / "out", "--json", "-", limit=400)  # fmt: skip
    assert run.code == 0, run.err
    assert "Traceback" not in run.err and "Warning" not in run.err, run.err
    told = {Path(entry["input"]).name: entry for entry in map(json.loads, run.out.splitlines())}
    assert set(told) == {path.name for path in photographs.iterdir()}
    boxes = {name: entry["tracks"][0]["frames"][0]["box"] for name, entry in told.items() if entry["tracks"]}
    for name in ("plain.jpg", "exif.jpg", "cmyk.jpg", "alpha.png", "apng.png", "animated.webp", "mpo.jpg", "gif.png"):
        assert np.abs(np.subtract(boxes[name], boxes["plain.png"])).max() < 12, name
    for name in ("16bit.png", "bomb 30000x30000.png", "empty.png", "text.jpg", "pipe.png", "zero.png"):
        assert told[name]["outcome"] == "unreadable" and told[name]["reason"], name
    outcomes = [entry["outcome"] if not entry["tracks"] else "judged" for entry in told.values()]
    account("photographs, SJEDD_predict.py", outcomes, run.megabytes, run.seconds)


def test_the_largest_image_that_is_read(published_checkpoint, tmp_path, account):
    (tmp_path / "large.png").write_bytes(giant_png(13_300))
    run = run_script(tmp_path, "SJEDD_predict.py", "--input", tmp_path / "large.png", "--resume", published_checkpoint,
                     "--output", tmp_path / "out")  # fmt: skip
    assert run.code == 0 and "no face" in run.out and "Warning" not in run.err, run.err
    account("a PNG of 177 million pixels in 0.5 MB, SJEDD_predict.py", ["no face"], run.megabytes, run.seconds)
    assert run.megabytes < 4000
