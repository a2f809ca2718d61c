"""CLIP's two towers as a joint embedding of face images and the prompts of a label tree.

Score of node i for image x: f_i = <image_embedding(x), text_embedding(prompt_i)> / 10, embeddings not normalised and
CLIP's logit scale not used (paper, joint embedding).
"""

import warnings

import open_clip
import torch
from torch import nn

from models.demo_tower import DemoTower
from models.label_tree import LabelTree

SCORE_DIVISOR = 10.0
# --VM name -> open_clip configuration. OpenAI's weights were trained with QuickGELU.
_OPEN_CLIP_CONFIGS = {
    "ViT-B/32": "ViT-B-32-quickgelu",
    "ViT-B/16": "ViT-B-16-quickgelu",
    "ViT-L/14": "ViT-L-14-quickgelu",
    "RN50": "RN50-quickgelu",
    "RN101": "RN101-quickgelu",
}
_DEMO_CONFIG = {
    "embed_dim": 128,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 112, "demo_channels": [16, 32, 64, 96]},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
}
MODEL_NAMES = (*_OPEN_CLIP_CONFIGS, "demo")


def architecture(name: str) -> dict:
    """The configuration of a tower pair as plain types (open_clip's layout), for ``name`` of MODEL_NAMES."""
    if name == "demo":
        return _DEMO_CONFIG
    return open_clip.get_model_config(_OPEN_CLIP_CONFIGS[name])


def openai_tag(name: str) -> str:
    """open_clip's name of the configuration that OpenAI's weights of ``name`` belong to."""
    return _OPEN_CLIP_CONFIGS[name]


class JointEmbedding(nn.Module):
    """Scores images against the prompts of one label tree.

    architecture: open_clip configuration (plain dict). tree: the label tree. Weights are random until loaded into
    ``.clip``, whose state dict has OpenAI CLIP's key names. The model is used in eval mode, training included.
    """

    def __init__(self, architecture: dict, tree: LabelTree) -> None:
        super().__init__()
        self.architecture = architecture
        self.tree = tree
        self.clip = _build_clip(architecture)
        vocabulary = architecture["text_cfg"]["vocab_size"]
        tokens = open_clip.tokenize(tree.prompts, context_length=architecture["text_cfg"]["context_length"])
        if int(tokens.max()) >= vocabulary:
            raise ValueError(f"the text tower knows {vocabulary} tokens, CLIP's tokenizer needs 49408")
        end = tokens.argmax(dim=1)  # position of the end-of-text token, the largest id
        # The text tower is causal and read at the end-of-text token: what comes after it changes nothing.
        self.register_buffer("tokens", tokens[:, : int(end.max()) + 1].contiguous(), persistent=False)
        self.register_buffer("token_end", end, persistent=False)
        self.eval()

    @property
    def image_size(self) -> int:
        """Side in pixels of the square images the image tower takes."""
        size = self.clip.visual.image_size
        return size if isinstance(size, int) else size[0]

    def encode_prompts(self) -> torch.Tensor:
        """Text embedding of every prompt, float [nodes, D], from one pass over the longest prompt's positions.

        The embeddings do not depend on the image: call once per parameter state and pass the result to ``forward``.
        """
        clip, length = self.clip, self.tokens.shape[1]
        x = clip.token_embedding(self.tokens) + clip.positional_embedding[:length]  # [nodes, length, width]
        x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
        x = clip.ln_final(x[torch.arange(len(x), device=x.device), self.token_end])  # [nodes, width]
        return x @ clip.text_projection

    def forward(self, images: torch.Tensor, text: torch.Tensor | None = None) -> torch.Tensor:
        """Node scores. images: float [B, 3, S, S], CLIP-normalised RGB. text: result of ``encode_prompts``, made here
        when not given. Returns float32 [B, nodes], also under autocast (near 25 bfloat16's spacing is 0.125).
        """
        text = self.encode_prompts() if text is None else text
        embedding = self.clip.visual(images)
        with torch.autocast(images.device.type, enabled=False):
            return embedding.float() @ text.float().T / SCORE_DIVISOR


def _build_clip(architecture: dict) -> nn.Module:
    vision = architecture["vision_cfg"]
    if "demo_channels" not in vision:
        config = {key: architecture[key] for key in ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")}
        return _quiet_clip(**config)
    # open_clip builds the text tower; its image tower is a one-layer stand-in that ours replaces.
    stand_in = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 32}
    clip = _quiet_clip(architecture["embed_dim"], stand_in, architecture["text_cfg"], architecture["quick_gelu"])
    clip.visual = DemoTower(vision["image_size"], vision["demo_channels"], architecture["embed_dim"])
    # CLIP's small initial token embeddings would make all prompts nearly one vector, which costs epochs from scratch.
    nn.init.normal_(clip.token_embedding.weight, std=0.5)
    return clip


def _quiet_clip(embed_dim: int, vision_cfg: dict, text_cfg: dict, quick_gelu: bool) -> nn.Module:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        return open_clip.CLIP(embed_dim, dict(vision_cfg), dict(text_cfg), quick_gelu=quick_gelu)
