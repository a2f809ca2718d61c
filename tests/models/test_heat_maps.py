import numpy as np
import pytest
import skimage.data
import torch
from torch.nn import functional as F

from datasets.face_regions import region_mask
from datasets.readers.ffpp import REGION_CODES
from models.heat_maps import heat_maps
from models.joint_embedding import JointEmbedding, architecture
from models.label_tree import FFPP
from preprocessing.detection.align import align_face, template
from preprocessing.expansion.blending import transplant
from preprocessing.extraction.face_crops import one_thread
from tests.conftest import REAL

pytestmark = pytest.mark.numeric

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
TOWERS = {
    "transformer": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
}
EYES, NOSE, MOUTH = "0100110000", "0100100010", "0100101100"
ASTRONAUT = np.array([[203, 100], [246, 102], [226, 129], [205, 141], [246, 143]])


@pytest.mark.parametrize("tower", [*TOWERS, "demo"])
def test_maps_are_shares_and_leave_the_model_as_it_was(tower):
    torch.manual_seed(0)
    config = {"embed_dim": 32, "quick_gelu": True, "vision_cfg": TOWERS[tower], "text_cfg": TEXT} if tower in TOWERS \
        else architecture(tower)  # fmt: skip
    model = JointEmbedding(config, FFPP)
    images = torch.randn(2, 3, model.image_size, model.image_size)
    with torch.inference_mode():
        before, text = model(images), model.encode_prompts()
    maps = heat_maps(model, images, text)
    assert maps.shape == (2, 10, model.image_size, model.image_size)
    assert maps.dtype == torch.float32
    assert (maps >= 0).all()
    sums = maps.sum(dim=(2, 3))
    assert ((sums - 1).abs().lt(1e-4) | (sums == 0)).all()
    assert (sums > 0).any(dim=1).all()
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.inference_mode():
        assert torch.equal(model(images), before), "the same computation twice"
    assert torch.allclose(heat_maps(model, images[1:], text), maps[1:], atol=1e-5)


@pytest.fixture(scope="module")
def learned():
    """A small tower that was shown crops with noise in the eyes, the nose or the mouth, and a maker of such crops."""
    size, rng = 64, np.random.default_rng(0)
    masks = [region_mask(region, template(size, 1.3), size) for region in REGION_CODES]
    real = align_face(skimage.data.astronaut(), ASTRONAUT, size)
    vectors = torch.from_numpy(np.stack([FFPP.encode(code) for code in (EYES, NOSE, MOUTH, REAL)]))

    def draw(kinds):
        """kinds: index of a region for each crop, 3 for none. Light and noise of the whole picture vary."""
        crops = []
        for kind in kinds:
            crop = np.clip(real * rng.uniform(0.8, 1.2) + rng.normal(0, 3, real.shape), 0, 255).astype(np.uint8)
            if kind < 3:
                noisy = np.clip(crop + rng.normal(0, 40, crop.shape), 0, 255).astype(np.uint8)
                crop = transplant(crop, noisy, masks[kind])
            crops.append(crop.transpose(2, 0, 1))
        return torch.from_numpy(np.stack(crops)).float() / 64 - 2

    torch.manual_seed(0)
    config = architecture("demo") | {"vision_cfg": {"image_size": size, "demo_channels": [16, 16, 32, 32]}}
    model = JointEmbedding(config, FFPP)
    text = model.encode_prompts().detach()
    optimizer = torch.optim.Adam(model.clip.visual.parameters(), 3e-3)
    kinds = np.arange(16) % 4
    with one_thread():
        for _ in range(100):
            loss = F.binary_cross_entropy_with_logits(model(draw(kinds), text), vectors[kinds])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model, text, draw, masks


@pytest.mark.parametrize(("region", "node"), [("eyes", "eye"), ("nose", "nose"), ("mouth", "mouth"), ("mouth", "lip")])
def test_the_map_of_a_region_lies_on_the_transplanted_region(learned, region, node):
    """On average at least twice as much of the map as of the area is inside the mask, and more than on real crops."""
    model, text, draw, masks = learned
    kind, index = list(REGION_CODES).index(region), FFPP.nodes.index(node)
    mask = torch.from_numpy(masks[kind])
    fake, real = (
        (heat_maps(model, draw([what] * 16), text)[:, index] * mask).sum(dim=(1, 2)).mean() / mask.mean()
        for what in (kind, 3)
    )
    assert fake > 2
    assert fake > 1.5 * real
