import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from skimage.data import astronaut

from datasets import device_augmentation
from datasets.augmentation import KINDS, Draw, apply_draw
from datasets.device_augmentation import augmented, perturb, resize
from datasets.frames import EpochBatches, Frames, training_loader
from datasets.raw_frames import RawFrames
from datasets.records import Record
from datasets.transforms import grey_places
from datasets.transforms import resize as pil_resize
from utils.devices import set_tf32

pytestmark = [pytest.mark.numeric, pytest.mark.usefixtures("single_thread")]
CPU = torch.device("cpu")
SIZES = [(317, 317), (300, 280), (271, 354), (256, 256), (70, 33)]
STRONG = [(kind, i) for kind in KINDS[:-1] for i in range(2)] + [("jpeg", quality) for quality in (1, 30, 75, 90, 100)]


def crops(height, width):
    """A photograph, and noise: every value beside every other one."""
    photograph = np.asarray(Image.fromarray(astronaut()[:300, 100:400]).resize((width, height)))
    return [photograph, np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)]


def batch_of(images, draws, seeds=None, flips=None):
    seeds, flips = seeds or range(len(images)), flips or [False] * len(images)
    return RawFrames.collate(list(enumerate(zip(images, draws, seeds, flips, strict=True))))[0]


def close(ours, expected):
    """Within one grey level for 99.9% of the values."""
    difference = (ours.int() - torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2).int()).abs()
    return (difference <= 1).float().mean() >= 0.999


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wanted", [224, 64, 300])
def test_resize_is_pils(size, wanted):
    images = crops(*size)
    ours = resize(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float(), wanted)
    assert close(ours, [pil_resize(image, wanted) for image in images])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kind", "strength"), [each for each in STRONG if each[0] != "noise"])
def test_each_perturbation_is_the_cpus(size, kind, strength):
    images = crops(*size)
    places = grey_places(*size, 16 * (strength + 1), np.random.default_rng(1)) if kind == "blocks" else None
    draw = Draw(kind, strength, places)
    batch = batch_of(images, [draw, draw])
    expected = [apply_draw(image, draw, np.random.default_rng(0)) for image in images]
    assert close(perturb(batch.groups[0], CPU), expected)
    assert close(augmented(batch, 224, CPU), [pil_resize(image, 224) for image in expected])


@pytest.mark.parametrize("strength", [0, 1])
def test_noise_has_the_cpus_distribution(strength):
    flat = np.full((200, 220, 3), (90, 130, 170), np.uint8)
    draw = Draw("noise", strength)
    ours = perturb(batch_of([flat] * 2, [draw] * 2).groups[0], CPU).permute(0, 2, 3, 1).reshape(-1, 3).numpy()
    theirs = apply_draw(flat, draw, np.random.default_rng(0)).reshape(-1, 3).astype(float)
    deviations = theirs.std(0) * (1 / len(ours) + 1 / len(theirs)) ** 0.5  # of the difference of the means
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 4 * deviations).all()
    assert np.allclose(np.cov(ours.T), np.cov(theirs.T), atol=0.03 * theirs.var(0).max())
    for q in (0.001, 0.05, 0.5, 0.95, 0.999):
        assert np.abs(np.quantile(ours, q, axis=0) - np.quantile(theirs, q, axis=0)).max() <= 2
    photograph = crops(317, 317)[0]
    clean = pil_resize(photograph, 224).astype(float)
    ours = augmented(batch_of([photograph], [draw]), 224, CPU)[0].permute(1, 2, 0).numpy()
    theirs = pil_resize(apply_draw(photograph, draw, np.random.default_rng(0)), 224)
    assert (ours - clean).std() == pytest.approx((theirs - clean).std(), rel=0.02)


def test_noise_depends_on_the_images_seed_alone():
    image, draw = crops(100, 120)[0], Draw("noise", 1)
    alone = [augmented(batch_of([image], [draw], [seed]), 64, CPU)[0] for seed in (5, 2**63 - 1)]
    assert not torch.equal(*alone)
    others = [image, image, crops(90, 90)[0]]
    together = augmented(batch_of([*others, image], [None, draw, draw, draw], [1, 2**63 - 1, 3, 5]), 64, CPU)
    assert torch.equal(together[1], alone[1]) and torch.equal(together[3], alone[0])


@pytest.fixture
def records(tmp_path):
    """Crops of two sizes in turn, and one that cannot be read."""
    made = []
    for i in range(24):
        image = np.roll(crops(280 + 20 * (i % 2), 270)[0], 7 * i, axis=1)
        Image.fromarray(image).save(tmp_path / f"{i:02d}.png")
        made.append(Record(str(tmp_path / f"{i:02d}.png"), f"v{i}", 0, "1000000000"))
    return [*made, Record(str(tmp_path / "none.png"), "v", 0, "1000000000")]


def of_cpu(records, order, workers=0, **settings):
    return list(training_loader(Frames(records, 64, 0.8, **settings), order, workers))


def of_device(records, order, workers=0, **settings):
    loader = training_loader(RawFrames(records, 0.8, **settings), order, workers)
    return [(augmented(batch, 64, CPU), indices, bad) for batch, indices, bad in loader]


def noisy(records, order, **settings):
    """Whether each image of the order's batches gets noise."""
    frames = RawFrames(records, 0.8, **settings)
    items = [[frames[item][1] for item in batch] for batch in order]
    return [[item[1] is not None and item[1].kind == "noise" for item in batch if item != "missing_file"]
            for batch in items]  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"flip": 0.5, "qualities": range(10, 96)}])
def test_batches_are_those_of_the_cpu_but_for_noise(records, settings):
    order = EpochBatches(len(records), 8, seed=3, epoch=0)
    flags = noisy(records, order, **settings)
    assert any(map(any, flags))
    runs = of_device(records, order, **settings), of_cpu(records, order, **settings)
    assert {bad[0][1] for _, _, bad in runs[0] if bad} <= {"missing_file"}
    for (ours, *rest), (theirs, *others), noise in zip(*runs, flags, strict=True):
        assert torch.equal(rest[0], others[0]) and rest[1] == others[1]
        assert ours.dtype == torch.uint8 and ours.shape == theirs.shape
        quiet = ~torch.tensor(noise)
        assert close(ours[quiet], theirs[quiet].permute(0, 2, 3, 1).numpy())


def test_mirrored_crops_are_pils_and_the_others_stay():
    images = crops(100, 120)
    ours = perturb(batch_of([*images, *images], [None] * 4, flips=[True, False, False, True]).groups[0], CPU)
    mirrored = [np.asarray(ImageOps.mirror(Image.fromarray(image))) for image in images]
    expected = np.stack([mirrored[0], images[1], images[0], mirrored[1]]).transpose(0, 3, 1, 2)
    assert torch.equal(ours, torch.from_numpy(expected).float())


def test_batches_depend_neither_on_workers_nor_on_where_the_epoch_goes_on(records):
    whole = of_device(records, EpochBatches(len(records), 8, seed=3, epoch=0))
    shared = of_device(records, EpochBatches(len(records), 8, seed=3, epoch=0), workers=2)
    rest = of_device(records, EpochBatches(len(records), 8, seed=3, epoch=0, start=1))
    for (one, *_), (other, *_) in zip([*whole, *whole[1:]], [*shared, *rest], strict=True):
        assert torch.equal(one, other)


def test_tf32_is_off_inside_and_as_before_afterwards(monkeypatch):
    inside, products = [], torch.backends.cuda.matmul

    def spy(images, _size):
        inside.append(products.allow_tf32)
        return images

    monkeypatch.setattr(device_augmentation, "resize", spy)
    set_tf32(True)
    try:
        augmented(batch_of([crops(64, 64)[0]], [None]), 64, CPU)
        assert inside == [False]
        assert products.allow_tf32
    finally:
        set_tf32(False)
