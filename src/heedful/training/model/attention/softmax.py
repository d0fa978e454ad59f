"""Softmax attention with grouped keys, rotary positions and optional query-key normalisation.

Registry of attention variants that the reference decoder's config can name.

Attention in plain torch operations, registered with transformers as ``eager``.

Rotary positions: pairs of a head's dimensions are rotated by angles that grow with position.

Root-mean-square norm that keeps the input's dtype, whatever the dtype of its gain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

if TYPE_CHECKING:
    from transformers import Cache

    from heedful.training.model.decoder_config import HeedfulDecoderConfig


class SoftmaxAttention(nn.Module):
    r"""Causal softmax attention of one layer.

    .. math:: \operatorname{softmax}\!\left(\frac{R_i \hat q_i \cdot R_j \hat k_j}{\sqrt d}\right) v_j, \qquad
              \hat x = g \odot \frac{x}{\sqrt{\operatorname{mean}(x^2) + \epsilon}}

    where :math:`\hat x = x` without QK-norm. The gain :math:`g` is learned, one vector for all heads of a layer, and
    begins at 1, so that every key begins with length :math:`\sqrt d`.

    Reading: with QK-norm, logits are bounded by the gains; ``c g_q`` with ``g_k / c`` gives the same attention for
    every ``c``, so that the length of keys alone says nothing.

    The product goes through transformers' attention-function table, whatever ``attn_implementation`` names.

    Args:
        config: Sizes and choices of the decoder.
        layer: Index of the layer, its place in the cache.
    """

    def __init__(self, config: HeedfulDecoderConfig, layer: int) -> None:
        super().__init__()
        dim, heads, shared = int(config.head_dim or 0), config.num_attention_heads, int(config.num_key_value_heads or 0)
        self.config, self.layer_idx, self.head_dim = config, layer, dim
        self.num_key_value_groups = heads // shared  # the kernels of the table read this and the next
        self.is_causal = True
        self.scaling = dim**-0.5
        self.q_proj = nn.Linear(config.hidden_size, heads * dim, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, shared * dim, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, shared * dim, bias=False)
        self.o_proj = nn.Linear(heads * dim, config.hidden_size, bias=False)
        if config.qk_norm:
            self.q_norm = RMSNorm(dim, eps=config.rms_norm_eps)
            self.k_norm = RMSNorm(dim, eps=config.rms_norm_eps)

    def forward(
        self,
        hidden: Tensor,
        turn: Rotation,
        attention_mask: Any = None,
        cache: Cache | None = None,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Return the layer's attention output, ``(batch, token, width)``, and the attention weights if the kernel
        returns them.

        Args:
            hidden: ``(batch, token, width)``.
            turn: Rotations of the tokens' positions.
            attention_mask: What transformers' mask functions made for the kernel.
            cache: Keys and values of earlier tokens, to which these are added; or None.
            options: Passed on to the kernel.

        Returns:
            Output ``(batch, token, width)``, and weights where the kernel returns them.
        """
        query, key, value = (self._heads(part(hidden)) for part in (self.q_proj, self.k_proj, self.v_proj))
        if self.config.qk_norm:
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = rotated(query, turn), rotated(key, turn)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        kernel = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.config.attention_dropout if self.training else 0.0
        output, weights = kernel(
            self, query, key, value, attention_mask, scaling=self.scaling, dropout=dropout, **options
        )
        return self.o_proj(output.flatten(2)), weights

    def _heads(self, vectors: Tensor) -> Tensor:
        """``(batch, token, head * dim)`` as ``(batch, head, token, dim)``."""
        return vectors.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)


VARIANTS = {"softmax": SoftmaxAttention}


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Compute attention as an explicit softmax over visible keys, in float32 or better.

    Args:
        module: The attention module; ``training`` says whether weights are dropped.
        query: ``(batch, head, query, dim)``.
        key: ``(batch, kv_head, key, dim)``.
        value: ``(batch, kv_head, key, dim)``.
        attention_mask: Added to the logits, ``(batch, 1, query, key)``, or None.
        scaling: Factor of the products.
        dropout: Share of weights dropped in training.

    Returns:
        Output ``(batch, query, head, dim)`` and weights ``(batch, head, query, key)``.
    """
    shared = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(shared, dim=1) for part in (key, value))
    logits = query @ key.transpose(-1, -2) * scaling
    if attention_mask is not None:
        logits = logits + attention_mask
    wide = torch.promote_types(query.dtype, torch.float32)
    weights = torch.softmax(logits, dim=-1, dtype=wide).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


Rotation = tuple[Tensor, Tensor]
"""Cosines and sines, ``(batch, token, dim)`` each; dimension ``i`` and ``i + dim / 2`` turn together."""


def rotation(positions: Tensor, dim: int, theta: float, dtype: torch.dtype) -> Rotation:
    r"""Return the cosines and sines of the rotation angles of each position.

    .. math:: \phi_{p,i} = p \, \theta^{-2i/d}, \qquad i < d / 2

    Angles are float32, as in transformers' decoders: in bfloat16 positions beyond 256 would coincide.

    Args:
        positions: ``(batch, token)``.
        dim: Dimensions of a head, even.
        theta: Base of the wavelengths.
        dtype: Number format of the result.

    Returns:
        Cosines and sines, ``(batch, token, dim)``. Source: Su et al. 2021, arXiv:2104.09864.
    """
    steps = torch.arange(0, dim, 2, dtype=torch.float32, device=positions.device)
    angles = positions[..., None].float() * (1.0 / theta ** (steps / dim))
    both = torch.cat((angles, angles), dim=-1)
    return both.cos().to(dtype), both.sin().to(dtype)


def rotated(vectors: Tensor, turn: Rotation) -> Tensor:
    """Rotate the vectors of every head by the angles of their positions.

    Args:
        vectors: Queries or keys, ``(batch, head, token, dim)``.
        turn: What ``rotation`` gave.

    Returns:
        ``(batch, head, token, dim)``, of the same lengths.
    """
    cosine, sine = (part[:, None] for part in turn)
    first, second = vectors.chunk(2, dim=-1)
    return vectors * cosine + torch.cat((-second, first), dim=-1) * sine


class RMSNorm(nn.RMSNorm):
    r"""Root-mean-square norm with a learned gain.

    .. math:: g \odot \frac{x}{\sqrt{\operatorname{mean}(x^2) + \epsilon}}

    Under autocast a projection gives bfloat16 and the gain is float32: the norm is then taken in float32 and the result
    is bfloat16 again. Source: Zhang and Sennrich 2019, arXiv:1910.07467.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise vectors ``(..., dim)`` and keep their dtype."""
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)
