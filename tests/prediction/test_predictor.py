import argparse
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from datasets.transforms import normalise, read_image, resize
from models.checkpoint import load_model, save_checkpoint
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP, FFSC
from prediction.predictor import CROP_SCALE, CROP_SIZE, Predictor, crop_parameters
from preprocessing.detection.align import align_face
from utils.cli import UserError

pytestmark = pytest.mark.numeric

ASTRONAUT = np.array([[203, 100], [246, 102], [226, 129], [205, 141], [246, 143]], np.float32)


def find_astronaut(pictures):
    """One face in each picture that is not black, none in the others."""
    return [SimpleNamespace(landmarks=ASTRONAUT[None] if picture.any() else ASTRONAUT[:0]) for picture in pictures]


@pytest.fixture(scope="module")
def predictor(published_checkpoint):
    return Predictor.load(published_checkpoint, find_astronaut, align_face, resize, normalise)


def of_tree(tree, **options):
    torch.manual_seed(0)
    model = JointEmbedding(architecture("demo"), tree)
    return Predictor(model, find_astronaut, align_face, resize, normalise, **options)


def test_faces_score_as_their_saved_crops_do(predictor, published_checkpoint, tmp_path):
    photo = skimage.data.astronaut()
    seen = predictor.look([photo, np.zeros_like(photo), photo])
    assert [face.scores.shape for face in seen] == [(1, 10), (0, 10), (1, 10)]
    Image.fromarray(align_face(photo, ASTRONAUT)).save(tmp_path / "crop.png")
    model = load_model(published_checkpoint)
    image = torch.from_numpy(resize(read_image(tmp_path / "crop.png"), model.image_size).transpose(2, 0, 1).copy())
    with torch.inference_mode():
        expected = model(normalise(image[None])).numpy()
    # Scores of size 3 in float32: 2e-6 between two batch sizes, whatever the kernels.
    assert np.abs(seen[0].scores - expected).max() < 1e-4
    assert np.abs(seen[0].scores - seen[2].scores).max() < 1e-4


def test_scores_do_not_depend_on_the_batch_size(predictor, monkeypatch):
    crops = [align_face(skimage.data.astronaut(), ASTRONAUT + shift) for shift in range(5)]
    whole = predictor.score(crops)
    monkeypatch.setattr(predictor, "batch_size", 2)
    assert np.abs(predictor.score(crops) - whole).max() < 1e-4 < 1e-2 < np.abs(np.diff(whole, axis=0)).max()
    assert predictor.score([]).shape == (0, 10)


@pytest.mark.parametrize("tree", [FFPP, FFSC], ids=["ffpp", "ffsc"])
def test_the_state_is_the_most_probable_legal_one_of_the_verdict(tree):
    predictor, rng = of_tree(tree), np.random.default_rng(0)
    legal = tree.legal_states.astype(float)
    kinds = set()
    for spread, frames in ((0.1, 1), (2, 3), (8, 2), (50, 1)) * 10:
        scores = rng.normal(-1, spread, (frames, len(tree.nodes))).astype(np.float32)
        scores[:, 0] -= rng.choice([0, 8])
        verdict = predictor.verdict(scores)
        weights = np.exp(scores.astype(float) @ legal.T - (scores.astype(float) @ legal.T).max(axis=1, keepdims=True))
        states = (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)
        assert list(verdict.nodes.values()) == pytest.approx(states @ legal, abs=1e-6)
        assert verdict.p_fake == verdict.p_calibrated == pytest.approx(states[1:].sum(), abs=1e-6)
        vector = [float(node in verdict.state) for node in tree.nodes]
        assert tree.is_legal(vector)
        assert (vector[0] == 1) == (verdict.p_fake >= 0.5)
        if vector[0]:
            assert states[(legal == vector).all(axis=1)][0] == states[1:].max()
        kinds.add(vector[0])
    assert kinds == {0, 1}


def test_the_threshold_decides_whether_a_state_is_fake():
    predictor = of_tree(FFPP)
    scores = np.zeros((1, 10), np.float32)
    scores[0, 0] = -np.log(250)  # P(fake) is a half, and real is by far the most probable single state
    p_fake = predictor.verdict(scores).p_fake
    assert p_fake == pytest.approx(0.5, abs=1e-6)
    assert "fake" in predictor.verdict(scores, 0.4).state
    assert predictor.verdict(scores, 0.6).state == []


def test_calibration_leaves_p_fake_and_nodes(monkeypatch):
    scores = np.random.default_rng(1).normal(0, 3, (4, 10)).astype(np.float32)
    plain, hot = of_tree(FFPP).verdict(scores), of_tree(FFPP, temperature=1e6).verdict(scores)
    assert (plain.p_fake, plain.nodes) == (hot.p_fake, hot.nodes)
    assert hot.p_calibrated == pytest.approx(0.5, abs=1e-4)
    assert of_tree(FFPP, temperature=1.0).verdict(scores).p_calibrated == pytest.approx(plain.p_fake, abs=1e-6)


def test_crop_parameters_come_from_the_checkpoint(tmp_path):
    assert crop_parameters({}, "x") == crop_parameters({"crops": None}, "x") == (CROP_SIZE, CROP_SCALE)
    path = tmp_path / "c.pth"
    save_checkpoint(path, JointEmbedding(architecture("demo"), FFSC), crops={"size": 64, "scale": 1.5})
    predictor = Predictor.load(path, find_astronaut, align_face, resize, normalise, batch_size=3)
    assert predictor.tree is FFSC
    assert predictor.batch_size == 3
    crop = predictor.align(skimage.data.astronaut(), ASTRONAUT)
    assert (crop == align_face(skimage.data.astronaut(), ASTRONAUT, 64, 1.5)).all()
    with pytest.raises(UserError, match="damaged crop settings"):
        crop_parameters({"crops": {"size": "big"}}, "x")


def test_a_published_checkpoint_has_the_papers_crops(published_checkpoint):
    content = {"args": argparse.Namespace(VM="ViT-B/32"), "preprocessing": None}
    assert crop_parameters(content, published_checkpoint) == (317, 1.3)
