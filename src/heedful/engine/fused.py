r"""The standing moments out of stock fused kernels: no logit is ever held, not even by the block.

With ``(o, Z) = kernel(query, key, value)`` and its log-sum-exp ``Z``, at scale ``s``:

* entropy: ``Z - s q . o_K`` with the keys as values;
* collision: ``exp(Z(2 s) - 2 Z(s))``;
* largest logit: ``Z(512 s) / 512``, too large by at most ``log(n) / 512`` where n keys are visible;
* overlap of rows i and i + m: ``exp(Z' - Z_i - Z_(i+m))``, ``Z'`` of the query ``q_i + q_(i+m)`` over the keys that
  both see;
* received mass: the gradient of the values for an output gradient of ones;
* mean position and groups: values that hold them; weights near the query and on the first key: single products.

Every line is unchanged when one number is added to all logits of a row, so keys are taken from their mean first:
differences of log-sum-exps lose no digits to a common offset.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from heedful.core.axes import LAGS, LOCAL_DISTANCE
from heedful.core.call import AttentionCall
from heedful.core.errors import UnsupportedByEngine
from heedful.engine.blocks import near_keys
from heedful.engine.gathered import LN2, NEAR, SUMS, Gathered
from heedful.engine.kernels import KERNELS, Answer, Asked, Kernel
from heedful.engine.moments import Extras, Moments

SHARPENING = 512
"""Factor of the logits under which their log-sum-exp is their maximum, up to ``log(n) / 512``."""

MASK_ELEMENTS = 2**21
"""Elements of a float mask held at once; rules that the kernels know need none."""

WIDTH = 8
"""Vectors are filled with zeros to a multiple of this, which some kernels ask for."""


def refusal(call: AttentionCall, extras: Extras | None = None) -> str | None:
    """Why ``fused`` cannot compute this, or None where it can."""
    extras, device = extras or Extras(), call.query.device.type
    reasons = {
        "a finite bias: the kernels know masks alone": call.bias is not None,
        "a softcap: the kernels' logits are plain products": call.softcap is not None,
        "a learned sink: the kernels' rows sum to one": call.sink is not None,
        "float64: the kernels' statistics are float32": torch.float64 in (call.query.dtype, call.key.dtype),
        "mass by distance: bins move with the query, and values do not": extras.distances,
        "log weights of single keys: the kernels return sums of weights": extras.contrast,
        f"device {device!r}: no kernel here returns its log-sum-exp": device not in KERNELS
        or not KERNELS[device].is_there(),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def fused(call: AttentionCall, extras: Extras | None = None) -> Moments:
    """Moments of one call by stock fused kernels and their log-sum-exp; statistics in float32.

    The maximum weight carries an error: it is too large by a factor of at most ``exp(log(n) / 512)`` for n visible
    keys (0.7 % at 37 keys, 2 % at 32k; exact where one key stands out). Everything else is exact up to rounding.

    Args:
        call: The attention call, without bias, softcap or learned sink.
        extras: Further moments wanted; groups alone can be had.

    Returns:
        Moments on the device of the query, without gradient.

    Raises:
        UnsupportedByEngine: The call or the extras are beyond these identities; the message names the reason.
    """
    extras = extras or Extras()
    reason = refusal(call, extras)
    if reason is not None:
        raise UnsupportedByEngine(f"engine 'fused' cannot do {reason}; ask for engine='tiled'")
    kernel = KERNELS[call.query.device.type]()
    with torch.no_grad(), torch.autocast(call.query.device.type, enabled=False):
        inputs = Inputs.of(call, extras)
        gathered = Gathered.of(call, torch.float32)
        # Kernels give weights that are normalised already: their normaliser is 1 and their peak the log-sum-exp.
        gathered.sums[: SUMS.index("peak")] = 1.0
        for span in _spans(call):
            _add_span(kernel, inputs, span, gathered)
        for lag, name in zip(LAGS, ("adjacent", "distant"), strict=True):
            for span in _spans(call, lag):
                _add_overlap(kernel, inputs, span, lag, gathered.sums[SUMS.index(name)], gathered)
        gathered.sums[SUMS.index("peak")] += inputs.shift / LN2
        if extras.groups is not None:
            _count_groups(inputs, extras.groups, gathered)
        return gathered.moments(call, "fused")


@dataclass(frozen=True)
class Inputs:
    """A call laid out for the kernels: one key head for every query head, float32, keys taken from their mean.

    Attributes:
        call: The call.
        query: ``(batch, head, query, width)``, times the scale: kernels mask before they scale, and -inf times a
            negative scale is no mask.
        key: ``(batch, head, key, width)``.
        value: ``(batch, head, key, value_dim)`` or None.
        columns: ``(batch, head, key, 1 + groups)``: key position, then membership of groups.
        shift: ``(batch, head, query)`` what the logits lost with the mean key.
        near: ``(batch, query, column)`` keys whose weight is kept, as ``blocks.near_keys``.
    """

    call: AttentionCall
    query: Tensor
    key: Tensor
    value: Tensor | None
    columns: Tensor
    shift: Tensor
    near: Tensor

    @classmethod
    def of(cls, call: AttentionCall, extras: Extras) -> Inputs:
        """Lay out a call."""
        repeated, device = call.heads // call.kv_heads, call.query.device
        query, key = call.query.float() * call.scale, call.key.float()
        centre = key.nan_to_num(0.0, 0.0, 0.0).mean(2, keepdim=True)
        columns = torch.arange(call.n_keys, dtype=torch.float32, device=device).expand(call.batch, -1)[..., None]
        if extras.groups is not None:
            columns = torch.cat([columns, extras.groups.to(columns)], dim=-1)
        first = call.visibility.own_first_key(call.batch, call.n_queries, call.n_keys, device)
        by_head = centre.repeat_interleave(repeated, 1)
        return cls(
            call=call,
            query=_widened(query, query.shape[-1]),
            key=_widened((key - centre).repeat_interleave(repeated, 1), key.shape[-1]),
            value=None if call.value is None else call.value.float().repeat_interleave(repeated, 1),
            columns=columns[:, None].expand(-1, call.heads, -1, -1),
            shift=(query * by_head).sum(-1),
            near=near_keys(call, first),
        )


@dataclass(frozen=True)
class Span:
    """Queries ``[begin, end)`` against keys ``[first, last)``, by a rule the kernels know or a mask of 0 and -inf."""

    begin: int
    end: int
    first: int
    last: int
    is_causal: bool = False
    seen: Tensor | None = None

    def asked(self, inputs: Inputs, query: Tensor) -> Asked:
        """The question for the given queries; rows that see nothing see everything, and are left out later."""
        mask = None
        if self.seen is not None:
            hidden = ~self.seen & self.seen.any(-1, keepdim=True)
            mask = torch.zeros(hidden.shape, device=query.device).masked_fill_(hidden, -math.inf)
        return Asked(query, inputs.key[:, :, self.first : self.last], self.is_causal, mask)


def _spans(call: AttentionCall, lag: int = 0) -> Iterator[Span]:
    """Cut the pairs of queries ``(i, i + lag)`` into spans over the keys that both see."""
    rules, n_queries, n_keys = call.visibility, call.n_queries, call.n_keys
    pairs = n_queries - lag
    if pairs <= 0:
        return
    if rules.hides_nothing():
        yield Span(0, pairs, 0, n_keys)
        return
    if rules.only_causal() and rules.start(n_queries, n_keys) == 0:
        yield Span(0, pairs, 0, min(pairs, n_keys), is_causal=True)
        return
    shown = rules.block(0, 1, 0, 1, n_queries, n_keys, call.query.device)
    rows = max(1, MASK_ELEMENTS // (shown.shape[0] * shown.shape[1] * n_keys))
    for begin in range(0, pairs, rows):
        end = min(begin + rows, pairs)
        ranges = [rules.key_range(begin + more, end + more, n_queries, n_keys) for more in (0, lag)]
        first = max(low for low, _ in ranges)
        last = max(first, min(high for _, high in ranges))
        seen = [
            rules.block(begin + more, end + more, first, last, n_queries, n_keys, call.query.device)
            for more in {0, lag}
        ]
        yield Span(begin, end, first, last, seen=seen[0] & seen[-1])


def _run(kernel: Kernel, asked: Asked, value: Tensor) -> Answer:
    """Ask a kernel for values of any width: zeros fill up whichever of keys and values is the narrower."""
    width = max(asked.key.shape[-1], value.shape[-1])
    wide = replace(asked, query=_widened(asked.query, width), key=_widened(asked.key, width))
    answer = kernel.forward(wide, _widened(value, wide.key.shape[-1]), 1.0)
    return replace(answer, output=answer.output[..., : value.shape[-1]])


def _widened(tensor: Tensor, width: int) -> Tensor:
    missing = -(-width // WIDTH) * WIDTH - tensor.shape[-1]
    return tensor if missing <= 0 else torch.nn.functional.pad(tensor, (0, missing))


def _add_span(kernel: Kernel, inputs: Inputs, span: Span, gathered: Gathered) -> None:
    """Store every sum of a span's rows but the overlaps."""
    if span.first == span.last:
        return
    call = inputs.call
    rows, keys = slice(span.begin, span.end), slice(span.first, span.last)
    query = inputs.query[:, :, rows]
    asked = span.asked(inputs, query)
    by_key = kernel.forward(asked, asked.key, 1.0)
    size = by_key.logsumexp
    columns = _run(kernel, asked, inputs.columns[:, :, keys]).output
    sharp = kernel.forward(asked, asked.key, SHARPENING).logsumexp / SHARPENING
    twice = kernel.forward(asked, asked.key, 2.0).logsumexp
    first = inputs.near[:, None, rows, NEAR]
    found = {
        "peak": size / LN2,
        "top": (sharp - size).exp().clamp_max(1.0),
        "surprise": ((query * by_key.output).sum(-1) - size) / LN2,
        "collision": (twice - 2 * size).exp().clamp_max(1.0),
        "position": columns[..., 0] - first,
    }
    for name, value in found.items():
        gathered.sums[SUMS.index(name), :, :, rows] = value
    gathered.near[:, :, rows] = _near_weights(inputs, span, query, size)
    if gathered.output is not None and inputs.value is not None:
        gathered.output[:, :, rows] = _run(kernel, asked, inputs.value[:, :, keys]).output
    gradient = torch.ones_like(by_key.output)
    if span.seen is not None:
        some = span.seen.any(-1)
        gradient = gradient * some[..., None]
        gathered.visible[:, :, rows] = span.seen.sum(-1)
        gathered.seen_by[:, :, keys] += span.seen.sum(-2)
        columns = columns.masked_fill(~some[..., None], math.nan)
        if gathered.output is not None:
            gathered.output[:, :, rows].masked_fill_(~some[..., None], 0.0)
    received = kernel.value_gradient(asked, by_key, gradient)
    gathered.received[:, :, keys] += received[..., 0]
    if columns.shape[-1] > 1:
        gathered.add_extra("group_mass", columns[..., 1:], (slice(0, call.batch), slice(0, call.heads)), rows)


def _near_weights(inputs: Inputs, span: Span, query: Tensor, size: Tensor) -> Tensor:
    """Weights around each query's own position and on its first key; NaN at a key before that is not seen."""
    index = inputs.near[:, span.begin : span.end]
    inside = ((index >= span.first) & (index < span.last))[:, None]
    at = (index - span.first).clamp(0, span.last - span.first - 1)
    if span.seen is not None:
        shape = (inputs.call.batch, span.seen.shape[1], -1, -1)
        inside = inside & torch.gather(span.seen.expand(shape), -1, at[:, None].expand(shape))
    elif span.is_causal:
        inside = inside & (index <= torch.arange(span.begin, span.end, device=index.device)[:, None])[:, None]
    keys = inputs.key[:, :, span.first : span.last]
    products = [
        (query * torch.gather(keys, 2, column[:, None, :, None].expand_as(query))).sum(-1) for column in at.unbind(-1)
    ]
    logs = torch.stack(products, dim=-1) - size[..., None]
    near = logs.masked_fill(~inside, -math.inf).exp()
    # Products rounded otherwise than in the kernel may give a row more than 1: by 1e-4 where logits reach 1000.
    near[..., NEAR].clamp_max_(1.0)
    near[..., :NEAR] /= near[..., :NEAR].sum(-1, keepdim=True).clamp_min(1.0)
    before = LOCAL_DISTANCE - 1
    near[..., before] = near[..., before].masked_fill(~inside[..., before], math.nan)
    return near


def _add_overlap(kernel: Kernel, inputs: Inputs, span: Span, lag: int, target: Tensor, gathered: Gathered) -> None:
    """Products of the weights of rows ``lag`` apart, at the earlier row of each pair."""
    early, late = slice(span.begin, span.end), slice(span.begin + lag, span.end + lag)
    if span.first == span.last:
        target[:, :, early] = 0.0
        return
    asked = span.asked(inputs, inputs.query[:, :, early] + inputs.query[:, :, late])
    both = kernel.forward(asked, asked.key, 1.0).logsumexp
    sizes = gathered.sums[SUMS.index("peak")] * LN2
    overlap = (both - sizes[:, :, early] - sizes[:, :, late]).exp()
    if span.seen is not None:
        overlap = overlap.masked_fill(~span.seen.any(-1), 0.0)
    target[:, :, early] = overlap


def _count_groups(inputs: Inputs, groups: Tensor, gathered: Gathered) -> None:
    """Number of visible keys of each group, by blocks of the rules."""
    call, device = inputs.call, inputs.query.device
    member = groups.to(device, torch.float32)[:, None]
    rows = max(1, MASK_ELEMENTS // (call.batch * call.heads * call.n_keys))
    for begin in range(0, call.n_queries, rows):
        end = min(begin + rows, call.n_queries)
        seen = call.visibility.block(begin, end, 0, call.n_keys, call.n_queries, call.n_keys, device)
        counts = (seen.float() @ member).expand(call.batch, call.heads, -1, -1)
        gathered.add_extra("group_visible", counts, (slice(0, call.batch), slice(0, call.heads)), slice(begin, end))
