"""CLIP's two towers as a joint embedding of face images and the prompts of a label tree.

The score of node i for image x is one of
- product (the paper's): f_i = <image_embedding(x), text_embedding(prompt_i)> / 10, embeddings not normalised, CLIP's
  logit scale not used;
- cosine (CLIP's): f_i = exp(t) cos(image_embedding(x), text_embedding(prompt_i)) with CLIP's learned logit scale t;
  exp(t) is at most 100, as in CLIP's training.
"""

import warnings

import open_clip
import torch
from open_clip.transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F

from models.choices import OPEN_CLIP_CONFIGS, SCORES
from models.demo_tower import DemoTower
from models.label_tree import LabelTree
from models.prompt_tokens import PromptEmbedding, prefix_tree
from models.transformer_pass import encode_image, transformer_pass

SCORE_DIVISOR = 10.0
_LARGEST_SCALE = 100.0  # of the cosine score
_DEMO_CONFIG = {
    "embed_dim": 128,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 112, "demo_channels": [16, 32, 64, 96]},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
# Options of OpenAI's CLIPs; models/transformer_pass.py computes no others.
_VISION_KEYS = {"image_size", "layers", "width", "patch_size", "demo_channels"}
_TEXT_KEYS = {"context_length", "vocab_size", "width", "heads", "layers"}
_LONGEST_PROMPT, _LARGEST_SIDE = 77, 1024  # tokens, px; OpenAI's largest image tower takes 448


def architecture(name: str) -> dict:
    """open_clip's configuration of a model of MODEL_NAMES, as plain types."""
    if name == "demo":
        return _DEMO_CONFIG
    return open_clip.get_model_config(OPEN_CLIP_CONFIGS[name])


class JointEmbedding(nn.Module):
    """Scores images against the prompts of a label tree.

    Weights are random until they are loaded into ``.clip``, whose state dict has OpenAI CLIP's key names. The model is
    always in eval mode, also in training.

    Args:
        architecture: open_clip's configuration.
        score: one of SCORES.
        empty: skip initialisation; the caller loads all weights.

    Raises ValueError if the architecture does not have OpenAI's layout.
    """

    def __init__(self, architecture: dict, tree: LabelTree, score: str = "product", empty: bool = False) -> None:
        super().__init__()
        if score not in SCORES:
            raise ValueError(f"score {score!r} is none of {SCORES}")
        self.architecture = architecture
        self.tree = tree
        self.score = score
        self.base: dict[str, str] | None = None  # of a delta checkpoint, see models/delta.py
        self.clip = _empty_clip(architecture) if empty else _build_clip(architecture)
        vocabulary = architecture["text_cfg"]["vocab_size"]
        tokens = open_clip.tokenize(tree.prompts, context_length=architecture["text_cfg"]["context_length"])
        if int(tokens.max()) >= vocabulary:
            raise ValueError(f"the text tower knows {vocabulary} tokens, CLIP's tokenizer needs 49408")
        # The text tower is causal, and its output is read at the end-of-text token, which has the largest id.
        tokens, depths, mask, ends = prefix_tree(tokens, tokens.argmax(dim=1) + 1)
        used, rows = tokens.unique(return_inverse=True)  # rows: row of PromptEmbedding at each position
        self.clip.token_embedding = PromptEmbedding(self.clip.token_embedding.weight, used)
        mask = torch.zeros(mask.shape).masked_fill_(~mask, -torch.inf)
        for name, values in {"rows": rows, "depths": depths, "mask": mask, "ends": ends}.items():
            self.register_buffer(f"prompt_{name}", values, persistent=False)
        self.eval()

    @property
    def image_size(self) -> int:
        """Side of the square input images in pixels."""
        size = self.clip.visual.image_size
        return size if isinstance(size, int) else size[0]

    def encode_prompts(self) -> torch.Tensor:
        """Text embedding of every prompt, float [nodes, D]. It depends only on the weights."""
        clip = self.clip
        x = clip.token_embedding.rows[self.prompt_rows] + clip.positional_embedding[self.prompt_depths]  # [T, width]
        x = x.to(clip.text_projection.dtype)
        x = transformer_pass(clip.transformer, x.unsqueeze(0), self.prompt_ends, self.prompt_mask)  # [1, nodes, width]
        return clip.ln_final(x.squeeze(0)) @ clip.text_projection

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """Image embeddings, float [B, D]. images: float [B, 3, S, S], CLIP-normalised RGB."""
        visual = self.clip.visual
        return encode_image(visual, images) if isinstance(visual, VisionTransformer) else visual(images)

    def forward(self, images: torch.Tensor, text: torch.Tensor | None = None) -> torch.Tensor:
        """Node scores of images, float32 [B, nodes] (float64 if the weights are).

        Under autocast only the image tower computes in the lower precision. The prompts are a few dozen positions, and
        scores near 25 would be rounded to multiples of 0.125 in bfloat16.

        Args:
            images: float [B, 3, S, S], CLIP-normalised RGB.
            text: result of ``encode_prompts`` (default: computed here).
        """
        embedding = self.encode_images(images)
        with torch.autocast(images.device.type, enabled=False):
            text = self.encode_prompts() if text is None else text
            embedding, text = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (embedding, text))
            if self.score == "product":
                return embedding @ text.T / SCORE_DIVISOR
            scale = self.clip.logit_scale.exp().clamp(max=_LARGEST_SCALE)
            return scale * F.normalize(embedding) @ F.normalize(text).T


def weight_shapes(architecture: dict) -> dict[str, torch.Size]:
    """Name -> shape of a model's weights, without allocating them. Raises as JointEmbedding does."""
    with torch.device("meta"):
        return {name: weight.shape for name, weight in _build_clip(architecture).state_dict().items()}


def _empty_clip(architecture: dict) -> open_clip.CLIP:
    """``_build_clip`` without initialisation, which takes seconds."""
    with torch.device("meta"):
        clip = _build_clip(architecture)
    mask = torch.full(clip.attn_mask.shape, -torch.inf).triu(1)  # the only tensor that is in no state dict
    clip.to_empty(device="cpu")
    for buffer in clip.buffers():
        buffer.zero_()
    clip.attn_mask.copy_(mask)
    return clip


def _build_clip(architecture: dict) -> open_clip.CLIP:
    vision = architecture["vision_cfg"]
    odd = (set(vision) - _VISION_KEYS) | (set(architecture["text_cfg"]) - _TEXT_KEYS)
    if odd or not architecture["quick_gelu"]:
        raise ValueError(f"no CLIP of OpenAI's layout: {', '.join(sorted(odd)) or 'no QuickGELU'}")
    tokens, side = architecture["text_cfg"]["context_length"], vision["image_size"]
    if not (0 < tokens <= _LONGEST_PROMPT and 0 < side <= _LARGEST_SIDE):
        raise ValueError(f"no CLIP of OpenAI's layout: prompts of {tokens} tokens, images of {side} px")
    # For the demo open_clip builds the text tower, and a one-layer image tower that ours replaces.
    stand_in = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 32}
    towers = dict(stand_in if "demo_channels" in vision else vision), dict(architecture["text_cfg"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        clip = open_clip.CLIP(architecture["embed_dim"], *towers, quick_gelu=architecture["quick_gelu"])
    if "demo_channels" not in vision:
        return clip
    clip.visual = DemoTower(vision["image_size"], vision["demo_channels"], architecture["embed_dim"])
    # With CLIP's small initial values all prompts have nearly the same embedding, which costs epochs from scratch.
    nn.init.normal_(clip.token_embedding.weight, std=0.5)
    return clip
