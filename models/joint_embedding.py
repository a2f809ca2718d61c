"""CLIP's two towers as a joint embedding of face images and the prompts of a label tree.

The score of node i for image x is one of
- product (the paper's): f_i = <image_embedding(x), text_embedding(prompt_i)> / D with D = 10 for OpenAI's weights,
  embeddings not normalised, CLIP's logit scale not used;
- cosine (CLIP's): f_i = exp(t) cos(image_embedding(x), text_embedding(prompt_i)) with CLIP's learned logit scale t;
  exp(t) is at most 100, as in CLIP's training.
"""

import difflib
import math
import warnings
from collections.abc import Sequence

import open_clip
import torch
from torch import nn
from torch.nn import functional as F

from models.choices import MODEL_NAMES, SCORES
from models.demo_tower import DemoTower
from models.label_tree import LabelTree
from models.prompt_tokens import PromptEmbedding, lengths, prefix_tree, tokenise
from models.towers import config_name, packs_prompts, passes_image, refusal
from models.transformer_pass import encode_image, transformer_pass
from utils.cli import UserError

SCORE_DIVISOR = 10.0  # of OpenAI's weights (the paper's)
_CLIPS_MEAN, _CLIPS_STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
_LARGEST_SCALE = 100.0  # of the cosine score
_DEMO_CONFIG = {
    "embed_dim": 128,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 112, "demo_channels": [16, 32, 64, 96]},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}


def architecture(name: str) -> dict:
    """open_clip's configuration of --VM ``name``, as plain types. Raises UserError if there is none."""
    if name == "demo":
        return _DEMO_CONFIG
    known = open_clip.list_models()
    if config_name(name) not in known:
        similar = difflib.get_close_matches(name, [*MODEL_NAMES, *known]) or known
        raise UserError(f"--VM {name} is no model of open_clip; such as {', '.join(similar[:5])}")
    config = open_clip.get_model_config(config_name(name))
    config.setdefault("quick_gelu", False)
    return config


class JointEmbedding(nn.Module):
    """Scores images against the prompts of a label tree.

    Weights are random until they are loaded into ``.clip``, whose state dict has open_clip's key names, which for
    OpenAI's CLIPs are OpenAI's. The model is always in eval mode, also in training.

    Args:
        architecture: open_clip's configuration, and ``preprocess_cfg`` with the image tower's mean and std if they are
            not CLIP's.
        score: one of SCORES.
        empty: skip initialisation where possible; the caller loads all weights.
        divisor: of the product score.
        tokens: of the prompts, [nodes, context length] (default: by the tower's tokenizer, which may be a download).

    Raises:
        ValueError: the architecture is not supported, or the tokens do not fit.
        UserError: the tokenizer cannot be downloaded.
    """

    def __init__(
        self,
        architecture: dict,
        tree: LabelTree,
        score: str = "product",
        empty: bool = False,
        divisor: float = SCORE_DIVISOR,
        tokens: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        if score not in SCORES:
            raise ValueError(f"the score is none of {SCORES}")
        if not (isinstance(divisor, float) and 0 < divisor < math.inf):
            raise ValueError("the divisor of the scores is no number above 0")
        self.architecture = architecture
        self.tree = tree
        self.score = score
        self.divisor = divisor
        self.base: dict[str, str] | None = None  # of a delta checkpoint, see models/delta.py
        self.clip = _empty_clip(architecture) if empty else _build_clip(architecture)
        self._prepare_prompts(tokens)
        self._passes_image = passes_image(architecture)
        if own := architecture.get("preprocess_cfg"):  # from CLIP's normalisation of RGB to the tower's
            mean, std = (torch.tensor(own[key]).view(3, 1, 1) for key in ("mean", "std"))
            clips_mean, clips_std = (torch.tensor(values).view(3, 1, 1) for values in (_CLIPS_MEAN, _CLIPS_STD))
            self.register_buffer("_image_scale", clips_std / std, persistent=False)
            self.register_buffer("_image_shift", (clips_mean - mean) / std, persistent=False)
        self.eval()

    def _prepare_prompts(self, tokens: Sequence[Sequence[int]] | None) -> None:
        config = self.architecture["text_cfg"]
        ids = tokenise(config, self.tree.prompts) if tokens is None else torch.tensor(tokens)
        if ids.shape != (len(self.tree.prompts), config["context_length"]) or ids.dtype != torch.int64:
            raise ValueError("the tokens of the prompts do not fit the text tower")
        if not 0 <= int(ids.min()) <= int(ids.max()) < config["vocab_size"]:
            raise ValueError(f"the text tower knows {config['vocab_size']} tokens, its tokenizer more")
        self.prompt_ids = ids.tolist()
        self._packs_prompts = packs_prompts(self.architecture)
        if self._packs_prompts:
            ids, depths, mask, ends = prefix_tree(ids, lengths(config, ids))
            used, rows = ids.unique(return_inverse=True)  # rows: row of PromptEmbedding at each position
            mask = torch.zeros(mask.shape).masked_fill_(~mask, -torch.inf)
            buffers = {"rows": rows, "depths": depths, "mask": mask, "ends": ends}
        else:
            used, buffers = ids.unique(), {"tokens": ids}
        for name, values in buffers.items():
            self.register_buffer(f"prompt_{name}", values, persistent=False)
        self.text_tower.token_embedding = PromptEmbedding(self.text_tower.token_embedding.weight, used)

    @property
    def text_tower(self) -> nn.Module:
        """The module with ``token_embedding``, ``transformer``, ``ln_final`` and ``text_projection``."""
        return _text_tower(self.clip)

    @property
    def image_size(self) -> int:
        """Side of the square input images in pixels."""
        size = self.clip.visual.image_size
        return size if isinstance(size, int) else size[0]

    def encode_prompts(self) -> torch.Tensor:
        """Text embedding of every prompt, float [nodes, D]. It depends only on the weights."""
        if not self._packs_prompts:
            return self.clip.encode_text(self.prompt_tokens)
        text = self.text_tower
        x = text.token_embedding.rows[self.prompt_rows] + text.positional_embedding[self.prompt_depths]  # [T, width]
        x = x.to(text.text_projection.dtype)
        x = transformer_pass(text.transformer, x.unsqueeze(0), self.prompt_ends, self.prompt_mask)  # [1, nodes, width]
        return text.ln_final(x.squeeze(0)) @ text.text_projection

    def encode_images(self, images: torch.Tensor) -> torch.Tensor:
        """Image embeddings, float [B, D]. images: float [B, 3, S, S], CLIP-normalised RGB."""
        if "preprocess_cfg" in self.architecture:
            images = images * self._image_scale + self._image_shift
        visual = self.clip.visual
        return encode_image(visual, images) if self._passes_image else visual(images)

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
                return embedding @ text.T / self.divisor
            scale = self.clip.logit_scale.exp().clamp(max=_LARGEST_SCALE)
            return scale * F.normalize(embedding) @ F.normalize(text).T


def weight_shapes(architecture: dict) -> dict[str, torch.Size]:
    """Name -> shape of a model's weights, without allocating them. Raises as JointEmbedding does."""
    with torch.device("meta"):
        return {name: weight.shape for name, weight in _build_clip(architecture).state_dict().items()}


def _empty_clip(architecture: dict) -> open_clip.CLIP | open_clip.CustomTextCLIP:
    """``_build_clip`` without initialisation, which takes seconds, unless the image tower is timm's."""
    if "timm_model_name" in architecture["vision_cfg"]:  # it may have tensors that are in no state dict
        return _build_clip(architecture)
    with torch.device("meta"):
        clip = _build_clip(architecture)
    text = _text_tower(clip)
    mask = None if text.attn_mask is None else torch.full(text.attn_mask.shape, -torch.inf).triu(1)
    clip.to_empty(device="cpu")
    for buffer in clip.buffers():
        buffer.zero_()
    if mask is not None:  # the only tensor that is in no state dict
        text.attn_mask.copy_(mask)
    return clip


def _text_tower(clip: nn.Module) -> nn.Module:
    return getattr(clip, "text", clip)


def _build_clip(architecture: dict) -> open_clip.CLIP | open_clip.CustomTextCLIP:
    if reason := refusal(architecture):
        raise ValueError(reason)
    vision = architecture["vision_cfg"]
    # For the demo open_clip builds the text tower, and a one-layer image tower that ours replaces.
    stand_in = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 32}
    towers = dict(stand_in if "demo_channels" in vision else vision), dict(architecture["text_cfg"])
    build = open_clip.CustomTextCLIP if architecture.get("custom_text") else open_clip.CLIP
    settings = {key: architecture.get(key) for key in ("quick_gelu", "init_logit_bias")}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        clip = build(architecture["embed_dim"], *towers, **settings)
    if "demo_channels" not in vision:
        return clip
    clip.visual = DemoTower(vision["image_size"], vision["demo_channels"], architecture["embed_dim"])
    # With CLIP's small initial values all prompts have nearly the same embedding, which costs epochs from scratch.
    nn.init.normal_(clip.token_embedding.weight, std=0.5)
    return clip
