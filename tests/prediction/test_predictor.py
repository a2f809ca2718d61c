import argparse

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from datasets.transforms import normalise, read_image, resize
from models.checkpoint import load_model, save_checkpoint
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFSC
from prediction.predictor import CROP_SCALE, CROP_SIZE, Predictor, crop_parameters
from preprocessing.detection.align import align_face
from preprocessing.detection.faces import Faces
from preprocessing.extraction.face_limits import MIN_CONFIDENCE
from utils.cli import UserError

pytestmark = pytest.mark.numeric

ASTRONAUT = np.array([[203, 100], [246, 102], [226, 129], [205, 141], [246, 143]], np.float32)


class AstronautDetector:
    """Finds one face in each picture that is not black, none in the others."""

    def detect(self, pictures):
        boxes, scores = np.float32([[180, 60, 270, 170]]), np.ones(1, np.float32)
        numbers = [int(picture.any()) for picture in pictures]
        return [Faces(boxes[:n], scores[:n], ASTRONAUT[None][:n]) for n in numbers]


@pytest.fixture(scope="module")
def predictor(published_checkpoint):
    loaded = Predictor.load(published_checkpoint, "mtcnn")
    assert loaded.min_confidence == MIN_CONFIDENCE["mtcnn"]
    loaded.detector = AstronautDetector()
    return loaded


def test_faces_score_as_their_saved_crops_do(predictor, published_checkpoint, tmp_path):
    photo = skimage.data.astronaut()
    scored = predictor.score_faces([photo, np.zeros_like(photo), photo])
    assert [face.scores.shape for face in scored] == [(1, 10), (0, 10), (1, 10)]
    Image.fromarray(align_face(photo, ASTRONAUT)).save(tmp_path / "crop.png")
    model = load_model(published_checkpoint)
    image = torch.from_numpy(resize(read_image(tmp_path / "crop.png"), model.image_size).transpose(2, 0, 1).copy())
    with torch.inference_mode():
        expected = model(normalise(image[None])).numpy()
    # Scores of size 3 in float32: 2e-6 between two batch sizes, whatever the kernels.
    assert np.abs(scored[0].scores - expected).max() < 1e-4
    assert np.abs(scored[0].scores - scored[2].scores).max() < 1e-4


def test_scores_do_not_depend_on_the_batch_size(predictor, monkeypatch):
    crops = [align_face(skimage.data.astronaut(), ASTRONAUT + shift) for shift in range(5)]
    whole = predictor.score_crops(crops)
    monkeypatch.setattr(predictor, "batch_size", 2)
    assert np.abs(predictor.score_crops(crops) - whole).max() < 1e-4 < 1e-2 < np.abs(np.diff(whole, axis=0)).max()
    assert predictor.score_crops([]).shape == (0, 10)


def test_crop_parameters_come_from_the_checkpoint(tmp_path):
    assert crop_parameters({}, "x") == crop_parameters({"crops": None}, "x") == (CROP_SIZE, CROP_SCALE)
    path = tmp_path / "c.pth"
    save_checkpoint(path, JointEmbedding(architecture("demo"), FFSC), crops={"size": 64, "scale": 1.5})
    predictor = Predictor.load(path, "mtcnn", batch_size=3)
    assert predictor.tree is FFSC
    assert predictor.batch_size == 3
    assert predictor.crops == {"size": 64, "scale": 1.5}
    crop = predictor.align(skimage.data.astronaut(), ASTRONAUT)
    assert (crop == align_face(skimage.data.astronaut(), ASTRONAUT, 64, 1.5)).all()
    with pytest.raises(UserError, match="damaged crop settings"):
        crop_parameters({"crops": {"size": "big"}}, "x")


def test_a_published_checkpoint_has_the_papers_crops(published_checkpoint):
    content = {"args": argparse.Namespace(VM="ViT-B/32"), "preprocessing": None}
    assert crop_parameters(content, published_checkpoint) == (317, 1.3)
