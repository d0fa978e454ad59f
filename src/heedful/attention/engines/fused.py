r"""Compute row and key moments with PyTorch's fused kernels, without storing logits.

With ``(o, Z) = kernel(query, key, value)`` and its log-sum-exp ``Z``, at scale ``s``:

* entropy: ``Z - s q . o_K`` with the keys as values;
* collision: ``exp(Z(2 s) - 2 Z(s))``;
* largest logit: ``Z(512 s) / 512``, too large by at most ``log(n) / 512`` where n keys are visible;
* overlap of rows i and i + m: ``exp(Z' - Z_i - Z_(i+m))``, ``Z'`` of the query ``q_i + q_(i+m)`` over the keys that
  both see;
* received mass: the gradient of the values for an output gradient of ones;
* mean position, groups and segments: values that hold them; weights near the query, on the first key and on keys that
  match the query's token: single products.

Every line is unchanged when one number is added to all logits of a row, so keys are taken from their mean first:
differences of log-sum-exps lose no digits to a common offset.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from heedful.attention.axes import LAGS, LOCAL_DISTANCE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.fused_groups import add_groups, begin_groups
from heedful.attention.engines.gathered import LN2, NEAR, SUMS, Gathered
from heedful.attention.engines.kernels import KERNELS, Kernel, KernelAnswer, KernelCall
from heedful.attention.engines.moments import Extras, Moments
from heedful.attention.engines.spans import WIDTH, KernelInputs, Span, spans, widened
from heedful.errors import UnsupportedByEngine

SHARPENING = 512
"""Factor of the logits under which their log-sum-exp is their maximum, up to ``log(n) / 512``."""


def refusal(call: AttentionCall, extras: Extras | None = None) -> str | None:
    """Return why the ``fused`` engine cannot compute this call, or None if it can."""
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
    """Compute the moments of one call from fused kernels and their log-sum-exp, in float32.

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
        inputs = KernelInputs.of(call, extras)
        gathered = Gathered.of(call, torch.float32)
        # Kernels give weights that are normalised already: their normaliser is 1 and their peak the log-sum-exp.
        gathered.sums[: SUMS.index("peak")] = 1.0
        begin_groups(inputs, gathered)
        for span in spans(call):
            _add_span(kernel, inputs, span, gathered)
        for lag, name in zip(LAGS, ("adjacent", "distant"), strict=True):
            for span in spans(call, lag):
                _add_overlap(kernel, inputs, span, lag, gathered.sums[SUMS.index(name)], gathered)
        gathered.sums[SUMS.index("peak")] += inputs.shift / LN2
        return gathered.moments(call, "fused")


def _run(kernel: Kernel, call: KernelCall, value: Tensor) -> KernelAnswer:
    """Ask a kernel for values of any width: zeros fill up whichever of keys and values is the narrower."""
    width = max(call.key.shape[-1], value.shape[-1])
    wide = replace(call, query=widened(call.query, width), key=widened(call.key, width))
    answer = kernel.forward(wide, widened(value, wide.key.shape[-1]), 1.0)
    return replace(answer, output=answer.output[..., : value.shape[-1]])


def _by_columns(kernel: Kernel, call: KernelCall, columns: Tensor) -> Tensor:
    """Weighted sums of any number of columns, as many at once as the keys are wide."""
    width = max(WIDTH, call.key.shape[-1])
    return torch.cat([_run(kernel, call, some).output for some in columns.split(width, dim=-1)], dim=-1)


def _add_span(kernel: Kernel, inputs: KernelInputs, span: Span, gathered: Gathered) -> None:
    """Store every sum of a span's rows but the overlaps."""
    if span.first == span.last:
        return
    rows, keys = slice(span.begin, span.end), slice(span.first, span.last)
    query = inputs.query[:, :, rows]
    call = span.kernel_call(inputs, query)
    by_key = kernel.forward(call, call.key, 1.0)
    size = by_key.logsumexp
    columns = _by_columns(kernel, call, inputs.columns[:, :, keys])
    sharp = kernel.forward(call, call.key, SHARPENING).logsumexp / SHARPENING
    twice = kernel.forward(call, call.key, 2.0).logsumexp
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
        gathered.output[:, :, rows] = _run(kernel, call, inputs.value[:, :, keys]).output
    gradient = torch.ones_like(by_key.output)
    if span.seen is not None:
        some = span.seen.any(-1)
        gradient = gradient * some[..., None]
        gathered.visible[:, :, rows] = span.seen.sum(-1)
        gathered.seen_by[:, :, keys] += span.seen.sum(-2)
        columns = columns.masked_fill(~some[..., None], math.nan)
        if gathered.output is not None:
            gathered.output[:, :, rows].masked_fill_(~some[..., None], 0.0)
    received = kernel.value_gradient(call, by_key, gradient)
    gathered.received[:, :, keys] += received[..., 0]
    add_groups(inputs, span, query, size, columns[..., 1:], gathered)


def _near_weights(inputs: KernelInputs, span: Span, query: Tensor, size: Tensor) -> Tensor:
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


def _add_overlap(
    kernel: Kernel, inputs: KernelInputs, span: Span, lag: int, target: Tensor, gathered: Gathered
) -> None:
    """Products of the weights of rows ``lag`` apart, at the earlier row of each pair."""
    early, late = slice(span.begin, span.end), slice(span.begin + lag, span.end + lag)
    if span.first == span.last:
        target[:, :, early] = 0.0
        return
    call = span.kernel_call(inputs, inputs.query[:, :, early] + inputs.query[:, :, late])
    both = kernel.forward(call, call.key, 1.0).logsumexp
    sizes = gathered.sums[SUMS.index("peak")] * LN2
    overlap = (both - sizes[:, :, early] - sizes[:, :, late]).exp()
    if span.seen is not None:
        overlap = overlap.masked_fill(~span.seen.any(-1), 0.0)
    target[:, :, early] = overlap
