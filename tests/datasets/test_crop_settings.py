import json

import pytest

from datasets.crop_settings import crop_settings, differences
from datasets.records import Record
from utils.cli import UserError


def image(root, *parts):
    path = root.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return Record(str(path), "v", 0)


def test_settings_lie_beside_the_faces_and_expansions_have_none(tmp_path):
    records = [
        image(tmp_path, "FF++", "real", "c23", "faces", "000", "0000.png"),
        image(tmp_path, "FF++", "expansion", "c23", "train", "eyes", "Deepfakes_000_003", "0000.png"),
    ]
    made = {"detector": "mtcnn", "scale": 1.3, "versions": {"torch": "2"}}
    (tmp_path / "FF++" / "real" / "c23" / "manifest.json").write_text(json.dumps(made))
    (tmp_path / "FF++" / "expansion" / "c23" / "train" / "manifest.json").write_text('{"donors": "matching"}')
    settings = crop_settings(records)
    assert settings == {str(tmp_path / "FF++" / "real" / "c23"): made}
    assert differences(settings) == []
    assert differences(settings | {"elsewhere": made | {"versions": {}}}) == [], "the same crops by other versions"
    assert differences(settings | {"elsewhere": made | {"scale": 1.5}})[0].startswith("scale 1.3 in ")


def test_images_without_a_manifest_differ_from_those_with_one(tmp_path):
    bare = [image(tmp_path, "a", "v", "0.png")]
    assert crop_settings(bare) == {"": None}
    assert differences({"": None}) == []
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "manifest.json").write_text('{"detector": "mtcnn"}')
    both = crop_settings([*bare, image(tmp_path, "b", "v", "0.png")])
    assert differences(both) == ["no manifest.json beside some of the crops"]
    (tmp_path / "b" / "manifest.json").write_text("no JSON")
    with pytest.raises(UserError, match="is not JSON"):
        crop_settings([image(tmp_path, "b", "v", "0.png")])
