"""Self-blends: what changes in an image, what it is labelled, and on what its draws depend."""

import json

import numpy as np
import pytest

from datasets.crop_cache import image_source
from datasets.face_regions import template
from datasets.frames import EpochBatches, Frames, training_loader
from datasets.raw_frames import RawFrames
from datasets.records import DataSet, Record, node_vector
from datasets.self_blending import (
    ATTRIBUTE,
    NODES,
    OPACITIES,
    FixedBlends,
    SelfBlending,
    apply_blend,
    blend_mask,
    changed,
    with_fixed_blends,
)
from datasets.transforms import ImageFiles, read_image
from models.label_tree import FFPP, FFSC
from tests.conftest import DATA
from utils.cli import UserError

ASTRONAUT = DATA / "align_astronaut_317.png"
VARIANTS = [FFPP, FFPP.root_only, *FFPP.without.values(), FFPP.reworded({"root": "a {} face"}, "p.json")]


@pytest.fixture
def records(golden_crops):
    """15 reals and 15 fakes."""
    paths = sorted(golden_crops.glob("*/*/*.png"))
    labels = [int("Fake" in str(path)) for path in paths]
    return [Record(str(p), p.parent.name, k, f"{k}{k}0000000{k}") for p, k in zip(paths, labels, strict=True)]


def blends(n, tree=FFPP, **fields):
    """Blends of many seeds, with some fields replaced."""
    blending = SelfBlending([Record(str(ASTRONAUT), "v", 0)], tree, 1.0)
    return [blending.drawn(0, (0, 0, 0, i))._replace(**fields) for i in range(n)]


def on(code, tree):
    return {node for node, value in zip(tree.nodes, code, strict=True) if value == "1"}


@pytest.mark.parametrize("tree", VARIANTS, ids=lambda tree: tree.name)
def test_every_label_is_legal_and_names_the_regions_that_the_tree_has(tree):
    seen = set()
    for blend in blends(300, tree):
        regions = ["eyes", "nose", "mouth", "lips"] if blend.regions == ("face",) else blend.regions
        expected = {"fake", ATTRIBUTE, *(node for region in regions for node in NODES[region])}
        assert on(blend.code, tree) == expected & set(tree.nodes)
        assert tree.is_legal(node_vector(blend.code)) and set(blend.code) <= set("01")
        seen |= {blend.regions}
    assert {region for regions in seen for region in regions} == {"eyes", "nose", "lips", "mouth", "face"}
    assert {len(regions) for regions in seen} == {1, 2, 3}


@pytest.mark.parametrize(
    ("region", "nodes"),
    [("eyes", {"eye"}), ("nose", {"nose"}), ("lips", {"lip"}), ("mouth", {"lip", "mouth"})]
    + [("face", {"eye", "lip", "mouth", "nose"})],
)
def test_the_label_of_a_region(region, nodes):
    assert on(SelfBlending([], FFPP).code((region,)), FFPP) == {"fake", ATTRIBUTE, *nodes}


def test_a_tree_without_the_attribute_is_refused():
    for tree in (FFSC, FFSC.root_only):
        with pytest.raises(UserError, match="physical inconsistency, which the ffsc"):
            SelfBlending([], tree)


@pytest.mark.parametrize("shape", [(317, 317), (64, 64), (200, 150)])
def test_outside_the_mask_every_pixel_stays(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    image.flags.writeable = False
    for blend in blends(40):
        mask, result = blend_mask(blend, *shape), apply_blend(image, blend)
        assert (mask.shape, mask.dtype, result.shape, result.dtype) == (shape, np.float32, image.shape, np.uint8)
        assert (result == image)[mask == 0].all()
        assert (result != image)[mask > 0.2].any()
        assert mask.min() >= 0 and mask.max() == pytest.approx(blend.opacity, rel=0.1)
        steps = [np.abs(np.diff(mask, axis=axis)).max() for axis in (0, 1)]
        assert max(steps) < 40 / min(shape), "no edge of the mask is hard"


@pytest.mark.numeric
def test_at_full_opacity_the_copy_is_seen_inside():
    image = read_image(ASTRONAUT)
    unmoved = {"shift": (0.0, 0.0), "zoom": 1.0, "opacity": 1.0}
    for blend in blends(10, changes={"brightness": (20.0,)}, **unmoved):
        inside = blend_mask(blend, 317, 317) > 0.999
        expected = np.minimum(image.astype(int) + 20, 255)
        assert np.abs(apply_blend(image, blend)[inside] - expected[inside]).max() <= 1
    for blend in blends(3, changes={}, **unmoved):
        assert (apply_blend(image, blend) == image).all()


@pytest.mark.numeric
def test_the_copy_is_shifted_and_scaled_about_the_middle():
    ramp = np.repeat(np.linspace(0, 200, 201).astype(np.uint8)[None, :, None], 201, axis=0).repeat(3, axis=2)
    for blend in blends(10, changes={}, opacity=1.0, shift=(0.03, 0.01), zoom=1.05, regions=("face",)):
        inside = blend_mask(blend, 201, 201) > 0.999
        expected = 100.5 + (ramp - 100.5 - 0.03 * 201) / 1.05
        assert np.abs(apply_blend(ramp, blend) - expected)[inside].max() < 1.1


@pytest.mark.parametrize(("size", "scale"), [(317, 1.3), (112, 1.0), (256, 1.8)])
def test_masks_lie_on_the_landmarks_of_crops_of_any_size_and_scale(size, scale):
    still = {"jitter": np.zeros((5, 2)), "waves": np.zeros((4, 4, 2)), "opacity": 1.0, "grow": 1.0, "feather": 0.05}
    inside = {"eyes": (0, 1), "nose": (2,), "mouth": (3, 4), "face": range(5), "skin": (), "eyebrows": ()}
    for region, landmarks in inside.items():
        mask = blend_mask(blends(1, regions=(region,), scale=scale, **still)[0], size, size)
        weights = [mask[round(y), round(x)] for x, y in template(size, scale)]
        assert [i for i, weight in enumerate(weights) if weight > 0.5] == list(landmarks)


@pytest.mark.numeric
def test_changes_of_the_tone_are_as_their_formulas_say():
    image = np.random.default_rng(0).integers(60, 190, (8, 8, 3), np.uint8)
    luma = (image @ [0.299, 0.587, 0.114])[..., None]
    cases = [
        ({"colour": (10.0, -5.0, 3.0)}, image + [10, -5, 3]),
        ({"brightness": (-12.0,)}, image - 12.0),
        ({"contrast": (0.2,)}, 128 + 1.2 * (image - 128.0)),
        ({"saturation": (-0.5,)}, luma + 0.5 * (image - luma)),
        ({"saturation": (0.5,), "brightness": (5.0,), "contrast": (-0.1,)}, None),
    ]
    together = 128 + 0.9 * (luma + 1.5 * (image - luma) - 128) + 5
    for changes, expected in cases:
        expected = together if expected is None else expected
        assert np.abs(changed(image, changes) - expected.clip(0, 255)).max() < 1
    assert changed(image, {}).tolist() == image.tolist()


def test_sharpness_resolution_and_jpeg_change_detail_and_not_the_mean():
    image = read_image(ASTRONAUT)

    def detail(picture):
        return np.abs(np.diff(picture.astype(float), axis=0)).mean()

    strengths = {"sharpness": 1.0, "resolution": 4.0, "jpeg": 40.0}
    results = {name: changed(image, {name: (value,)}) for name, value in strengths.items()}
    assert detail(results["resolution"]) < 0.8 * detail(image) < 0.96 * detail(results["sharpness"])
    assert 0 < np.abs(results["jpeg"].astype(int) - image).mean() < 5
    assert all(abs(result.mean() - image.mean()) < 1 for result in results.values())


def test_the_share_of_reals_is_blended_and_no_fake(records):
    blending = SelfBlending(records, FFPP, 0.3)
    drawn = [(i, blending.drawn(i, (7, epoch, 0, i))) for epoch in range(200) for i in range(len(records))]
    reals = [blend for i, blend in drawn if records[i].label == 0]
    assert all(blend is None for i, blend in drawn if records[i].label)
    assert np.mean([blend is not None for blend in reals]) == pytest.approx(0.3, abs=0.03)
    made = [blend for blend in reals if blend]
    assert np.mean([blend.regions == ("face",) for blend in made]) == pytest.approx(1 / 3, abs=0.06)
    assert {blend.opacity for blend in made} == set(OPACITIES)
    assert all(abs(value) <= 0.03 for blend in made for value in blend.shift)
    assert all(0.95 <= blend.zoom <= 1.05 and 2 <= len(blend.changes) <= 4 for blend in made)
    assert not any({"sharpness", "resolution"} <= blend.changes.keys() for blend in made)


def test_items_depend_on_their_draw_alone_and_the_augmentation_keeps_its_own(records):
    items = [item for batch in EpochBatches(len(records), 5, seed=3, epoch=1) for item in batch]
    blending = SelfBlending(records, FFPP, 0.5)
    blended = {i: blending.drawn(i, draw) for i, draw in items}
    assert 3 < sum(blend is not None for blend in blended.values()) < 13

    plain, mixed = Frames(records, 64, 0.8), Frames(records, 64, 0.8, blending=blending)
    alone = {i: mixed[i, draw][1] for i, draw in reversed(items)}
    for i, draw in items:
        assert np.array_equal(mixed[i, draw][1], plain[i, draw][1]) == (blended[i] is None)
    loader = training_loader(mixed, EpochBatches(len(records), 5, seed=3, epoch=1), num_workers=2)
    for images, indices, _ in loader:
        assert all(np.array_equal(image, alone[i]) for image, i in zip(images, indices.tolist(), strict=True))

    raw = RawFrames(records, 0.8, blending=blending), RawFrames(records, 0.8)
    for i, draw in items:
        (crop, *drawn), (original, *same) = (frames[i, draw][1] for frames in raw)
        assert str(drawn) == str(same)
        assert np.array_equal(crop, apply_blend(original, blended[i]) if blended[i] else original)


def test_crops_from_a_cache_are_blended_alike(records, tmp_path):
    source = image_source(DataSet("train", records), str(tmp_path))
    blending = SelfBlending(records, FFPP, 0.5)
    for kind in (lambda images: Frames(records, 64, images=images, blending=blending),
                 lambda images: RawFrames(records, images=images, blending=blending)):  # fmt: skip
        files, cached = kind(None), kind(source)
        for i in range(len(records)):
            a, b = (frames[i, (0, 0, 0, i)][1] for frames in (files, cached))
            a, b = (item[0] if isinstance(item, tuple) else item for item in (a, b))
            assert np.array_equal(a, b.view() if isinstance(b, tuple) else b)


def test_the_scale_of_the_crops_is_taken_from_their_manifest(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"detector": "mtcnn", "scale": 1.7}))
    reals = [Record(str(tmp_path / "faces" / "v" / "0.png"), "v", 0), Record("elsewhere/v/0.png", "w", 0)]
    assert [SelfBlending(reals, FFPP).fixed(i).scale for i in (0, 1)] == [1.7, 1.3]


def test_fixed_blends_follow_their_reals_and_are_videos_of_their_own(records):
    reals = [record for record in records if not record.label]
    data, blending = DataSet("val", reals), SelfBlending(reals, FFPP)
    both = with_fixed_blends(data, blending)
    assert both.records[:15] == reals and len(both.records) == 30 and not both.image_level
    assert [record.label for record in both.records[15:]] == [1] * 15
    assert not {record.video for record in reals} & {record.video for record in both.records[15:]}
    assert len({record.video for record in both.records}) == 2 * len({record.video for record in reals})
    assert "self-blend of each of its 15 images" in both.notes[0]
    source = FixedBlends(ImageFiles(reals), 15, blending)
    for i, record in enumerate(reals):
        image, blend = read_image(record.path), blending.fixed(i)
        assert both.records[15 + i].code == blend.code
        assert np.array_equal(source.read(i), image)
        assert np.array_equal(source.read(15 + i), apply_blend(image, blend))
    reordered = SelfBlending(reals[::-1], FFPP)
    assert str(reordered.fixed(0)) == str(blending.fixed(14)), "by the record, not by its place"
    images = [Record(record.path, record.path, 0) for record in reals]
    assert with_fixed_blends(DataSet("val", images), SelfBlending(images, FFPP)).image_level
