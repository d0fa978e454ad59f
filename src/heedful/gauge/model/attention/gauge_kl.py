"""Attention by KL divergence between Gaussian beliefs, with transport between frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from heedful.gauge.beliefs import Framed, Gaussians, divergences, own_divergence
from heedful.gauge.frames import into_frame, out_of_frame
from heedful.gauge.irreps import parse_irreps
from heedful.gauge.layout import BeliefLayout, TokenBeliefs, side_by_side
from heedful.gauge.model.gauge_config import first_kappa, kappa_for
from heedful.training.model.attention.softmax import eager_attention_forward

if TYPE_CHECKING:
    from transformers import Cache

    from heedful.gauge.model.gauge_config import GaugeConfig

_MULTIPLE = 8
"""Widths that every fused kernel takes."""

_SEQUENCES, _ROWS, _FEWEST_KEYS = 8, 32, 8
"""Of the first batch, what temperatures are calibrated on."""


@dataclass(frozen=True)
class Around:
    """The keys that a sequence's tokens attend to, in the common frame, with the attention mask.

    Attributes:
        keys: Beliefs of each group, ``(batch, copy, key, dim)``, centred.
        centre: What was subtracted from the means, ``(batch, copy, 1, dim)`` each.
        mask: The kernel's mask.
    """

    keys: tuple[Gaussians, ...]
    centre: tuple[Tensor, ...]
    mask: Any


class DivergenceHeads(nn.Module):
    """Heads with logits ``-KL / temperature``; one matrix product computes all of them.

    Features of smaller irreps are filled with zeros up to the largest, so that a layer is one call of the kernel and
    one row of heads, whatever their dimensions.

    Args:
        config: Sizes and choices.
        layer: Index of the layer.
    """

    meets_itself = True
    """Whether a query is the very belief that its own key is, so that their divergence is 0."""

    def __init__(self, config: GaugeConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer_idx, self.is_causal = config, layer, True
        self.layout = BeliefLayout(parse_irreps(config.irreps), config.covariance, config.covariance_frame == "token")
        self.head_labels = self.layout.irreps.labels
        learned = config.kappa_rule == "learned"
        self.log_kappa = nn.Parameter(torch.zeros(self.layout.irreps.heads), requires_grad=learned)
        self.calibrated: Tensor
        self.register_buffer("calibrated", torch.zeros((), dtype=torch.bool))
        self.asked: tuple[Sequence[Gaussians], Sequence[Gaussians]] | None = None
        """Queries and keys as beliefs while the kernel runs, for whoever watches it; None otherwise."""

    def start(self) -> Tensor:
        """Return the log of the initial temperatures by the config's rule, ``(head,)``."""
        first = first_kappa(self.config.kappa_rule, self.config.kappa, self.layout.irreps.dims)
        return torch.tensor(first, dtype=torch.float64).log().to(self.log_kappa.dtype)

    def attended(
        self, queries: Sequence[Gaussians], around: Around, values: Sequence[Tensor], **options: Any
    ) -> tuple[list[Tensor], Tensor | None]:
        """Return the values averaged with weights ``softmax(-KL / kappa)``, for each query.

        Args:
            queries: Beliefs of each group, ``(batch, copy, query, dim)``, centred.
            around: What they see.
            values: ``(batch, copy, key, any)`` of each group.
            options: Passed on to the kernel.

        Returns:
            The means of each group, ``(batch, copy, query, any)``, and weights where the kernel returns them.
        """
        self._calibrate(queries, around)
        copies = [number for number, _ in self.layout.irreps.groups]
        kappa = exact(self.log_kappa).exp().split(copies)
        asked = [group.queries() / own[:, None, None] for group, own in
                 zip(queries, kappa, strict=True)]  # fmt: skip
        widths = [part.shape[-1] for part in (*asked, *values)]
        width = -(-max(widths) // _MULTIPLE) * _MULTIPLE
        query, key, value = (
            torch.cat([nn.functional.pad(part, (0, width - part.shape[-1])) for part in parts], dim=1)
            for parts in (asked, [group.keys() for group in around.keys], values)
        )
        kernel = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.config.attention_dropout if self.training else 0.0
        self.asked = queries, around.keys
        try:
            output, weights = kernel(self, query, key, value, around.mask, scaling=1.0, dropout=dropout, **options)
        finally:
            self.asked = None
        parts = output.transpose(1, 2).split(copies, dim=1)
        return [part[..., : of.shape[-1]] for part, of in zip(parts, values, strict=True)], weights

    @torch.no_grad()
    def _calibrate(self, queries: Sequence[Gaussians], around: Around) -> None:
        """On the first training batch, the temperatures at which each head is as concentrated as the config wants."""
        target = self.config.target_concentration
        if target is None or not self.training or bool(self.calibrated):
            return
        count = queries[0].mean.shape[2]
        if count != around.keys[0].mean.shape[2]:
            return  # a decoding step shows too few rows
        rows = torch.linspace(min(_FEWEST_KEYS, count - 1), count - 1, _ROWS).round().unique().long()
        rows = rows.to(queries[0].mean.device)
        seen = _visible(around.mask, rows, count, min(_SEQUENCES, len(queries[0].mean)))
        found = [_pairs(group, keys, rows, len(seen)) for group, keys in zip(queries, around.keys, strict=True)]
        kappa = torch.cat([kappa_for(group, seen.flatten(0, 1), target) for group in found])
        logs = kappa.log().to(self.log_kappa)
        self.log_kappa.copy_(torch.where(logs.isfinite(), logs, self.log_kappa))
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.broadcast(self.log_kappa.data, 0)
        self.calibrated.fill_(True)


class GaugeKLAttention(DivergenceHeads):
    r"""Causal attention in one layer between beliefs :math:`q_i = N(\mu_i, \Sigma_i)` in frames :math:`R_i`.

    .. math:: \beta_{ij} = \operatorname{softmax}_j(-KL(q_i \,\|\, \Omega_{ij} q_j) / \kappa_h), \qquad
              \text{message}_i = \sum_j \beta_{ij} \Omega_{ij} \mu_j = R_i \sum_j \beta_{ij} m_j

    There are no projections: everything that is learned lies in the tables of beliefs, and the temperatures.

    Reading: a frame that belongs to a token is a change of coordinates of its mean. It adds nothing that the weights
    could not be without it; frames of positions do.

    The product goes through transformers' attention-function table, whatever ``attn_implementation`` names. Cached are
    beliefs in the common frame, before they are made features: a later query must be centred as they are.
    """

    def forward(
        self,
        hidden: Tensor,
        spread: TokenBeliefs,
        frames: tuple[Tensor, ...],
        attention_mask: Any = None,
        cache: Cache | None = None,
        aligned: bool = False,
        **options: Any,
    ) -> tuple[Tensor, Tensor | None, Around, Tensor | None]:
        """Return attention outputs over each token itself and earlier tokens, attention weights, the keys in the
        common frame, and the mean KL divergence from attended keys.

        Args:
            hidden: Means in their own frames, ``(batch, token, width)``.
            spread: The covariances; its means are not read.
            frames: ``(batch, token, dim, dim)`` of each group.
            attention_mask: What transformers' mask functions made for the kernel.
            cache: Beliefs of earlier tokens, to which these are added; or None.
            aligned: Whether the divergence from what is attended to is wanted.
            options: Passed on to the kernel.

        Returns:
            Messages in the tokens' own frames ``(batch, token, width)``; weights where the kernel returns them; what
            the tokens were met by; and the mean divergence over heads ``(batch, token)``, or None.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            return self._attended(hidden, spread, frames, attention_mask, cache, aligned, options)

    def _attended(
        self,
        hidden: Tensor,
        spread: TokenBeliefs,
        frames: tuple[Tensor, ...],
        mask: Any,
        past: Cache | None,
        aligned: bool,
        options: dict[str, Any],
    ) -> tuple[Tensor, Tensor | None, Around, Tensor | None]:
        own = canonical(self.layout, replace(spread, mean=exact(hidden)), frames)
        keys = own if past is None else self._with_earlier(own, past)
        centre = tuple(group.mean[:, :, :1] for group in keys)
        queries, around = moved(own, centre, -1), Around(moved(keys, centre, -1), centre, mask)
        values = [group.mean for group in keys]
        if aligned:
            values = [torch.cat((group.mean, other.keys()), -1) for group, other in zip(keys, around.keys, strict=True)]
        taken, weights = self.attended(queries, around, values, **options)
        dims = [group.mean.shape[-1] for group in own]
        messages = [part[..., :dim] for part, dim in zip(taken, dims, strict=True)]
        alignment = None
        if aligned:
            parts = zip(queries, taken, dims, strict=True)
            alignment = torch.cat([own_divergence(group, part[..., dim:]) for group, part, dim in parts], dim=1).mean(1)
        return in_frames(messages, frames), weights, around, alignment

    def _with_earlier(self, own: tuple[Gaussians, ...], past: Cache) -> tuple[Gaussians, ...]:
        now = self.layout.tokens(own)
        turned = [group.frame[:, 0].flatten(-2) for group in own if isinstance(group, Framed)]
        parts = [part for part in (now.log_variance, now.shear, *turned) if part is not None]
        mean, spread = (p[:, 0] for p in past.update(now.mean[:, None], torch.cat(parts, -1)[:, None], self.layer_idx))
        shears, widths = self.layout.shears, [part.shape[-1] for part in turned]
        log_variance, shear, *frames = spread.split([self.layout.variances, shears, *widths], dim=-1)
        every = self.layout.groups(TokenBeliefs(mean, log_variance, shear if shears else None))
        left = iter(frames)
        return tuple(
            _framed(group, next(left).unflatten(-1, (group.mean.shape[-1], -1))) if isinstance(mine, Framed) else group
            for group, mine in zip(every, own, strict=True)
        )


def exact(tensor: Tensor) -> Tensor:
    """Convert to float32 or better, because divergences are differences of squares."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def canonical(layout: BeliefLayout, tokens: TokenBeliefs, frames: tuple[Tensor, ...]) -> tuple[Gaussians, ...]:
    """Return the beliefs of each group of equal irreps, with means rotated from the token's frame into the common
    frame.

    Covariances are stored there, so that only means are rotated, or, by the layout, in the token's own frame.
    """
    found: list[Gaussians] = []
    for group, frame in zip(layout.groups(tokens), frames, strict=True):
        if frame.shape[-1] == 1:
            found.append(group)
            continue
        moved_mean = replace(group, mean=out_of_frame(group.mean, frame))
        found.append(_framed(moved_mean, frame.transpose(-1, -2)) if layout.own_frames else moved_mean)
    return tuple(found)


def _framed(group: Gaussians, frame: Tensor) -> Framed:
    """The beliefs with their variances on the diagonal of a frame, ``(batch, token, dim, dim)`` for all copies."""
    batch, copies, tokens, dim = group.mean.shape
    return Framed(group.mean, group.log_variance, frame[:, None].expand(batch, copies, tokens, dim, dim))


def moved(groups: Sequence[Gaussians], by: Sequence[Tensor], sign: int) -> tuple[Gaussians, ...]:
    """Shift all means by ``sign * by``, which leaves divergences unchanged and reduces rounding errors."""
    return tuple(replace(group, mean=group.mean + sign * shift) for group, shift in zip(groups, by, strict=True))


def in_frames(groups: Sequence[Tensor], frames: tuple[Tensor, ...]) -> Tensor:
    """Map vectors ``(batch, copy, token, dim)`` of each group from the common frame to token frames, and
    concatenate.
    """
    pairs = zip(groups, frames, strict=True)
    return side_by_side([part if frame.shape[-1] == 1 else into_frame(part, frame) for part, frame in pairs])


def _pairs(queries: Gaussians, keys: Gaussians, rows: Tensor, sequences: int) -> Tensor:
    """Divergences of sampled rows, ``(copy, sequence * row, key)``."""
    some = {field.name: getattr(queries, field.name)[:sequences, :, rows] for field in fields(queries)}
    others = {field.name: getattr(keys, field.name)[:sequences] for field in fields(keys)}
    return divergences(replace(queries, **some), replace(keys, **others)).transpose(0, 1).flatten(1, 2)


def _visible(mask: Any, rows: Tensor, keys: int, sequences: int) -> Tensor:
    """Which keys the sampled rows see, ``(sequence, row, key)``."""
    if not isinstance(mask, Tensor):
        return (torch.arange(keys, device=rows.device) <= rows[:, None]).expand(sequences, -1, -1)
    seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    return seen[:, 0, rows].expand(max(sequences, len(seen)), -1, -1)[:sequences]
