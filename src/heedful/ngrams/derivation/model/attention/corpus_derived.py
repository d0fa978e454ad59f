"""Attention with given matrices; queries may depend on earlier tokens, and heads may attend a fixed offset back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from heedful.training.model.attention.softmax import Rotation, eager_attention_forward, rotated

if TYPE_CHECKING:
    from heedful.ngrams.derivation.model.derived_config import HeedfulDerivedConfig

GOLDEN = (math.sqrt(5) - 1) / 2
"""Its multiples, taken modulo 1, fill the circle as evenly as any sequence does: no distance looks like another."""

MARGIN = 30.0
"""Logits between the key that a head looks back to and any other: a share under 1e-10 of the weight for 1,000 keys."""

SMALLEST_GAP = 0.02
"""Of the products of phases, as a share of the dimensions: under it the factor would cost float32 its digits."""

SEARCHED = 1 << 22
"""Dimensions times tokens beyond which no number of dimensions is looked for."""


def beats(dim: int) -> np.ndarray:
    """Return the angular frequencies of a head that attends a fixed offset back, ``(dim / 2,)`` float64, radians per
    token.
    """
    return 2 * math.pi * np.remainder(GOLDEN * np.arange(1, dim // 2 + 1), 1.0)


def distinct_tokens(dim: int, most: int) -> int:
    """Return how many positions (at most ``most``) a head of this dimension can tell apart by offset.

    Args:
        dim: The head's dimensions, an even number.
        most: Tokens.
    """
    alike = np.flatnonzero(_gaps(dim, most) < SMALLEST_GAP * dim)
    return int(alike[0]) + 1 if len(alike) else most


def sharpness(dim: int, length: int) -> float:
    """Return the factor for a fixed-offset head's logits that puts the target key ``MARGIN`` logits above all others.

    Raises:
        ValueError: So few dimensions cannot tell so many distances apart; the message names how many they can.
    """
    gap = float(_gaps(dim, length).min())
    if gap < SMALLEST_GAP * dim:
        fix = f"--length {distinct_tokens(dim, length)} at most, or --set head_dim={_enough(dim, length)}"
        raise ValueError(f"head_dim = {dim}: too few dimensions to attend back among {length} tokens ({fix})")
    return MARGIN / gap


def _enough(dim: int, length: int) -> str:
    """Dimensions that would do, in words; only doublings that are worked out in no time are tried."""
    while dim * length < SEARCHED:
        dim *= 2
        if distinct_tokens(dim, length) == length:
            return str(dim)
    return "more"


def _gaps(dim: int, length: int) -> np.ndarray:
    """How far the products of phases are below their largest at each distance from 1 on, ``(length - 1,)``."""
    distance = np.arange(1, max(2, length))
    return np.asarray(dim // 2 - np.cos(distance[:, None] * beats(dim)).sum(-1))


class DerivedFactors(nn.Module):
    """Buffers with the vectors that each token's query, key, value and output should have in a layer.

    Args:
        config: Sizes and choices.
        context: Last tokens that the layer's queries read.
    """

    def __init__(self, config: HeedfulDerivedConfig, context: int) -> None:
        super().__init__()
        heads, tokens, dim = config.num_attention_heads, config.vocab_size, config.head_dim
        self.register_buffer("query", torch.zeros(heads, context, tokens, dim))
        self.register_buffer("key", torch.zeros(heads, tokens, dim))
        if config.copies:
            self.register_buffer("copied", torch.zeros(heads, dim, config.hidden_size))
        else:
            self.register_buffer("value", torch.zeros(heads, tokens, dim))
            self.register_buffer("output", torch.zeros(heads, tokens, dim))


class CorpusDerivedAttention(nn.Module):
    r"""Causal attention of one layer with computed instead of learned matrices.

    .. math:: \operatorname{softmax}\!\left([x_i; x_{i-1}; \dots] W_Q \cdot x_j W_K\right) x_j W_V W_O

    Logits are not divided by a root: whatever factor they want is in :math:`W_Q`. A head with an offset s has phases
    of positions for queries and keys, so that query i attends to key i - s. Queries before token s attend to whichever
    keys have the nearest phases.

    Args:
        config: Sizes and choices.
        layer: Index of the layer.
    """

    def __init__(self, config: HeedfulDerivedConfig, layer: int) -> None:
        super().__init__()
        width, heads, dim = config.hidden_size, config.num_attention_heads, config.head_dim
        self.config, self.layer_idx, self.head_dim = config, layer, dim
        self.context = (config.context or [])[layer]
        self.offsets = (config.offsets or [])[layer]
        self.is_causal, self.num_key_value_groups, self.scaling = True, 1, 1.0
        self.q_proj = nn.Linear(self.context * width, heads * dim, bias=False)
        self.k_proj = nn.Linear(width, heads * dim, bias=False)
        self.v_proj = nn.Linear(width, heads * dim, bias=False)
        self.o_proj = nn.Linear(heads * dim, width, bias=False)
        self.factors = DerivedFactors(config, self.context) if config.linked_encoder is not None else None
        self.factor = math.nan
        if any(back is not None for back in self.offsets):
            self.factor = sharpness(dim, config.max_position_embeddings)

    @property
    def attends_by_offset(self) -> bool:
        """Whether all heads attend a fixed offset back, so that queries and keys are unused."""
        return bool(self.offsets) and all(back is not None for back in self.offsets)

    def forward(
        self,
        hidden: Tensor,
        position_ids: Tensor,
        turn: Rotation | None,
        real: Tensor | None,
        attention_mask: Any = None,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Return each token's attention output over itself and earlier tokens.

        Args:
            hidden: ``(batch, token, width)``.
            position_ids: ``(batch or 1, token)``.
            turn: Rotations of the positions, where they are rotary.
            real: ``(batch, token)`` 1 for tokens, 0 for padding; None where there is none.
            attention_mask: What transformers' mask functions made for the kernel.
            options: Passed on to the kernel.

        Returns:
            Output ``(batch, token, width)``, and weights where the kernel returns them.
        """
        query = self._heads(self.q_proj(self._with_earlier(hidden, real)))
        key, value = self._heads(self.k_proj(hidden)), self._heads(self.v_proj(hidden))
        if turn is not None:
            query, key = rotated(query, turn), rotated(key, turn)
        query, key = self._by_offset(query, key, position_ids)
        kernel = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        output, weights = kernel(self, query, key, value, attention_mask, scaling=self.scaling, dropout=0.0, **options)
        return self.o_proj(output.flatten(2)), weights

    def _heads(self, vectors: Tensor) -> Tensor:
        return vectors.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def _with_earlier(self, hidden: Tensor, real: Tensor | None) -> Tensor:
        """Each token's vector, then those of the tokens before it: 0 before the first."""
        if real is not None:
            hidden = hidden * real[..., None].to(hidden.dtype)
        tokens = hidden.shape[1]
        earlier = (nn.functional.pad(hidden, (0, 0, back, 0))[:, :tokens] for back in range(self.context))
        return torch.cat(list(earlier), dim=-1)

    def _by_offset(self, query: Tensor, key: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Phases of positions in place of the queries and keys of heads with an offset."""
        if all(back is None for back in self.offsets):
            return query, key
        turns = torch.from_numpy(beats(self.head_dim)).to(query.device)
        at = position_ids.double()[..., None] * turns
        queries, keys = list(query.unbind(1)), list(key.unbind(1))
        for head, back in enumerate(self.offsets):
            if back is not None:
                wanted = at - back * turns
                queries[head] = self._phases(wanted).to(query).expand_as(queries[head])
                keys[head] = self._phases(at).to(key).expand_as(keys[head])
        return torch.stack(queries, dim=1), torch.stack(keys, dim=1)

    def _phases(self, angle: Tensor) -> Tensor:
        return math.sqrt(self.factor) * torch.cat([angle.cos(), angle.sin()], dim=-1)
