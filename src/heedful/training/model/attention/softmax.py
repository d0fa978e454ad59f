"""Softmax attention with grouped keys, rotary positions and optional query-key normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from heedful.training.model.eager import eager_attention_forward
from heedful.training.model.rms_norm import RMSNorm
from heedful.training.model.rotation import Rotation, rotated

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
