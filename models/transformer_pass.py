"""The forward pass of open_clip's transformers, with less work and memory than the modules' own ``forward``.

The results are equal up to rounding. Savings: the last block computes only the positions that are read; QuickGELU is
one kernel between two matrix products; queries, keys and values are views of one product; patches are embedded by a
matrix product instead of a convolution; bfloat16 attention on a CPU avoids PyTorch's slow fused kernel.
"""

import torch
from open_clip.transformer import QuickGELU
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from models.precision import CPU_HAS_BFLOAT16_KERNELS

_SLOPE = 1.702  # of QuickGELU


class _MLP(torch.autograd.Function):
    """quick_gelu(x W1' + b1) W2' + b2, with QuickGELU(u) = u sigmoid(s u) = silu(s u) / s and s = 1.702.

    The first matrix product also multiplies by s, the second divides by s. The derivative of QuickGELU at u is that of
    silu at s u.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: torch.Tensor,
        w1: torch.Tensor,
        b1: torch.Tensor,
        w2: torch.Tensor,
        b2: torch.Tensor,
    ) -> torch.Tensor:
        scaled = torch.addmm(b1, x, w1.t(), beta=_SLOPE, alpha=_SLOPE)
        active = F.silu(scaled)
        _, of_w1, _, of_w2, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if of_w1 else None, scaled, active if of_w2 else None, w1, w2)
        return torch.addmm(b2, active, w2.t(), alpha=1 / _SLOPE)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, scaled, active, w1, w2 = ctx.saved_tensors
        of_x, of_w1, of_b1, of_w2, of_b2 = ctx.needs_input_grad
        inner = torch.ops.aten.silu_backward(gradient @ w2, scaled)
        return (
            inner @ w1 if of_x else None,
            inner.t() @ x if of_w1 else None,
            inner.sum(0) if of_b1 else None,
            torch.addmm(w2, gradient.t(), active, beta=0, alpha=1 / _SLOPE) if of_w2 else None,
            gradient.sum(0) if of_b2 else None,
        )


def mlp(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The two layers of a block and the activation between them, [..., W] -> [..., W], in autocast's dtype."""
    if not isinstance(block.gelu, QuickGELU):
        return block(x)
    inputs = (x.flatten(0, -2), block.c_fc.weight, block.c_fc.bias, block.c_proj.weight, block.c_proj.bias)
    device = x.device.type
    if torch.is_autocast_enabled(device):
        inputs = tuple(values.to(torch.get_autocast_dtype(device)) for values in inputs)
    with torch.autocast(device, enabled=False):
        return _MLP.apply(*inputs).unflatten(0, x.shape[:-1])


def attention(
    layer: nn.MultiheadAttention, x: torch.Tensor, mask: torch.Tensor | None, read: slice | torch.Tensor | None
) -> torch.Tensor:
    """Self-attention of the R positions ``read`` (None: all) to all positions, x [N, L, W] -> [N, R, W].

    mask: float [R, L], added to the attention scores.
    """
    width, heads = layer.embed_dim, layer.num_heads
    if read is None:
        qkv = F.linear(x, layer.in_proj_weight, layer.in_proj_bias)
        q, k, v = _updated(qkv, layer, "in_proj_lora", x).chunk(3, dim=-1)
    else:
        (q_weight, kv_weight), (q_bias, kv_bias) = (
            part.split([width, 2 * width]) for part in (layer.in_proj_weight, layer.in_proj_bias)
        )
        q = _updated(F.linear(x[:, read], q_weight, q_bias), layer, "in_proj_lora", x[:, read], slice(width))
        kv = _updated(F.linear(x, kv_weight, kv_bias), layer, "in_proj_lora", x, slice(width, None))
        k, v = kv.chunk(2, dim=-1)
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))  # [N, heads, L or R, W / heads]
    by_onednn = q.device.type == "cpu" and q.dtype == torch.bfloat16 and CPU_HAS_BFLOAT16_KERNELS
    # The backward passes of the fused CUDA kernels are not deterministic.
    deterministic = q.is_cuda and torch.are_deterministic_algorithms_enabled()
    attend = plain_attention if by_onednn or deterministic else F.scaled_dot_product_attention
    attended = attend(q, k, v, mask).transpose(1, 2).flatten(2)
    return _updated(layer.out_proj(attended), layer, "out_proj_lora", attended)


def _updated(
    y: torch.Tensor, layer: nn.MultiheadAttention, name: str, x: torch.Tensor, outputs: slice = slice(None)
) -> torch.Tensor:
    """The chosen outputs y of a matrix for the inputs x, with its low-rank update if it has one (models/lora.py)."""
    update = getattr(layer, name, None)
    return y if update is None else y + update(x, outputs)


def plain_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """softmax(q k^T / sqrt(D) + mask) v as two products; q [N, H, R, D], k and v [N, H, L, D] -> [N, H, R, D].

    On a CPU with bfloat16 kernels PyTorch's fused function takes two to four times as long (benchmarks/kernels.py), but
    this one keeps the attention weights [N, H, R, L] for the backward pass.
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores + mask
    return scores.softmax(dim=-1) @ v


def _block(
    block: nn.Module, x: torch.Tensor, mask: torch.Tensor | None, read: slice | torch.Tensor | None
) -> torch.Tensor:
    attended = block.ls_1(attention(block.attn, block.ln_1(x), mask, read))
    x = (x if read is None else x[:, read]) + attended
    return x + block.ls_2(mlp(block.mlp, block.ln_2(x)))


def transformer_pass(
    transformer: nn.Module, x: torch.Tensor, read: slice | torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Run the blocks of an open_clip Transformer, x [N, L, W] -> [N, R, W].

    With ``transformer.grad_checkpointing`` the backward pass computes a block's activations again.

    Args:
        read: the R positions whose output is needed.
        mask: float [L, L], 0 where a position may attend, -inf elsewhere; None: no mask.
    """
    *blocks, last = transformer.resblocks
    steps = [(block, mask, None) for block in blocks] + [(last, mask if mask is None else mask[read], read)]
    for block, block_mask, block_read in steps:
        if transformer.grad_checkpointing and torch.is_grad_enabled():
            # A block uses no random numbers, and saving the generators' states would wait for the device.
            x = checkpoint(_block, block, x, block_mask, block_read, use_reentrant=False, preserve_rng_state=False)
        else:
            x = _block(block, x, block_mask, block_read)
    return x


def embed_patches(conv: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    """A convolution without bias, whose stride is the side P of its kernel, as one matrix product.

    images: float [N, C, S, S], S a multiple of P. Returns [N, (S / P)^2, W], patches row by row.
    """
    side = conv.kernel_size[0]
    patches = images.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # [N, C, S / P, P, S / P, P]
    patches = patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # [N, (S / P)^2, C P P]
    return F.linear(patches, conv.weight.flatten(1))


def encode_image(visual: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Image embeddings [N, D] by an open_clip VisionTransformer that is read at its class token.

    images: float [N, 3, S, S], CLIP-normalised RGB.
    """
    patches = embed_patches(visual.conv1, images)
    token = visual.class_embedding.to(patches.dtype).expand(patches.shape[0], 1, -1)
    x = visual.ln_pre(torch.cat([token, patches], dim=1) + visual.positional_embedding.to(patches.dtype))
    x = transformer_pass(visual.transformer, x, read=slice(0, 1))
    return visual.ln_post(x[:, 0]) @ visual.proj
