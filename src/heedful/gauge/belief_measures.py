r"""Measure a trained gauge model's beliefs: KL divergences, spread and temperature of each head, and the diversity of
beliefs over tokens.

Theory of how strongly attention between Gaussian beliefs can concentrate, given the head's dimension and
temperature.

Means are normal with variance :math:`s^2` a component and covariances are one, so that
:math:`KL_{ij} = \tfrac12 |m_i - m_j|^2`. With :math:`b = s^2 / \kappa`, the sum over many keys is its expectation:

.. math:: D = \log n - H = \frac d2 \left[ \log(1 + b) - \frac{b}{1 + b} + \frac{b^2}{(1 + b)^2} \right]

averaged over queries. It is proportional to the dimension: each adds the same number of nats. Near uniform it is
:math:`\tfrac34 d b^2`, half the variance of the logits in a row; far from it :math:`\tfrac d2 \log b`, so that one key
is left where :math:`\kappa / s^2 = n^{-2/d}`: on a line keys crowd, and only a lower temperature parts them. No
dimension is too small to be sharp; a dimension only sets the temperature that it takes.

The expectation holds while several keys share a row; ``simulated_concentration`` holds everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from heedful.errors import InputRejected, UsageError
from heedful.gauge.beliefs import Gaussians, divergences
from heedful.gauge.frames import bounded
from heedful.gauge.layout import TokenBeliefs
from heedful.gauge.model.attention.gauge_kl import canonical, exact
from heedful.gauge.model.gauge import GaugeForCausalLM
from heedful.loading.wording import escaped
from heedful.training.sweeps.head_measures import loaded_on_held_out
from heedful.training.sweeps.recipe import RunMeasure

SEQUENCES = 16
ROWS = 24
FEWEST_KEYS = 8
"""Held-out sequences, sampled queries of each, and the fewest keys that such a query sees."""

Captured = dict[int, tuple[Tensor, TokenBeliefs, tuple[Tensor, ...]]]
"""Layer to means, covariances and frames as its attention got them."""


def beliefs(trained: Path) -> list[RunMeasure]:
    """Return the rows of ``measured_beliefs`` for a trained gauge model on its held-out text.

    Args:
        trained: Folder of a finished training run.

    Returns:
        The numbers.

    Raises:
        InputRejected: The model is of another form.
    """
    loaded, found = loaded_on_held_out(trained, SEQUENCES)
    if not isinstance(loaded.model, GaugeForCausalLM):
        message = f"expected a gauge model, got {type(loaded.model).__name__}"
        raise InputRejected(escaped(trained), message, "measure beliefs of gauge models alone")
    return measured_beliefs(loaded.model, found.input_ids)


@torch.no_grad()
def measured_beliefs(model: GaugeForCausalLM, ids: Tensor) -> list[RunMeasure]:
    r"""Measure divergences, spread and temperature of each head's beliefs, and how far beliefs differ over tokens; one
    row per number.

    Of a head: ``kl_mean``, ``kl_sd``, ``kl_least`` and ``kl_most`` over pairs of a query and a key that it sees, itself
    left out; ``logit_sd``, the deviation of ``KL / kappa`` in a row; ``belief_spread``, the variance of a component of
    the means in units of the beliefs' own variance, :math:`s^2`; ``kappa``; ``kappa_over_spread``; and
    ``expected_concentration``, what normal beliefs of that spread have (``heedful.gauge.belief_measures``).
    Of the model: ``mean_distance`` between two tokens' means, ``frame_spread``, the deviation of an angle's component
    over tokens, and least, mean and most ``variance``. All in the common frame, but for ``mean_distance``.

    Args:
        model: A gauge model.
        ids: ``(sequence, token)``, without padding.

    Returns:
        The numbers; ``n`` is the number of sequences.
    """
    with _captured(model) as captured:
        model(ids, use_cache=False)
    rows = [measured for layer in sorted(captured) for measured in _of_layer(model, layer, *captured[layer])]
    return [replace(one, n=len(ids)) for one in rows + _of_tokens(model, ids)]


@contextmanager
def _captured(model: GaugeForCausalLM) -> Iterator[Captured]:
    captured: Captured = {}

    def keep(attention: Any, given: tuple[Any, ...]) -> None:
        captured[attention.layer_idx] = given[:3]

    hooks = [layer.self_attn.register_forward_pre_hook(keep) for layer in model.model.layers]
    try:
        yield captured
    finally:
        for hook in hooks:
            hook.remove()


def _of_layer(
    model: GaugeForCausalLM, layer: int, hidden: Tensor, spread: TokenBeliefs, frames: tuple[Tensor, ...]
) -> list[RunMeasure]:
    attention: Any = model.model.layers[layer].self_attn
    groups = canonical(attention.layout, replace(spread, mean=exact(hidden)), frames)
    kappas = exact(attention.log_kappa).exp().split([number for number, _ in attention.layout.irreps.groups])
    columns = [_of_group(group, kappa) for group, kappa in zip(groups, kappas, strict=True)]
    labels = attention.layout.irreps.labels
    return [
        RunMeasure(
            measure=name, value=float(value), unit=unit, layer=layer, head=head, label=f"L{layer}H{head} {labels[head]}"
        )
        for (name, unit) in UNITS.items()
        for head, value in enumerate(torch.cat([column[name] for column in columns]))
    ]


UNITS = {"kl_mean": "nat", "kl_sd": "nat", "kl_least": "nat", "kl_most": "nat", "logit_sd": "nat", "belief_spread": "",
         "kappa": "", "kappa_over_spread": "", "expected_concentration": "nat"}  # fmt: skip


def _of_group(group: Gaussians, kappa: Tensor) -> dict[str, Tensor]:
    """Numbers of each copy, ``(copy,)``; beliefs are ``(batch, copy, token, dim)``."""
    length, dim = group.mean.shape[2:]
    rows = torch.linspace(min(FEWEST_KEYS, length - 1), length - 1, ROWS).round().unique().long()
    shift = group.mean.mean(2, keepdim=True)  # changes no divergence, and keeps squares small
    near = replace(group, mean=group.mean - shift)
    some = replace(near, **{field.name: getattr(near, field.name)[:, :, rows] for field in fields(near)})
    apart = divergences(some, near).transpose(0, 1)
    seen = (torch.arange(length) < rows[:, None]).expand(apart.shape[1:])
    pairs = apart[:, seen].double()
    by_row = (apart.double() / kappa.double()[:, None, None, None]).masked_fill(~seen, torch.nan)
    middle = by_row.nanmean(-1, keepdim=True)
    in_row = (by_row - middle).square().nanmean(-1).mean((-1, -2)).sqrt()
    logs = group.log_variance.transpose(0, 1).flatten(1)
    own = group.mean.transpose(0, 1).flatten(1, 2).double()
    s2 = own.var(1).mean(-1) * (-logs.double()).exp().mean(-1)
    ratio = kappa.double() / s2
    expected = [entropy_deficit(dim, float(one)) if float(one) > 0 else torch.nan for one in ratio]
    return {
        "kl_mean": pairs.mean(-1),
        "kl_sd": pairs.std(-1, correction=0),
        "kl_least": pairs.amin(-1),
        "kl_most": pairs.amax(-1),
        "logit_sd": in_row,
        "belief_spread": s2,
        "kappa": kappa.double(),
        "kappa_over_spread": ratio,
        "expected_concentration": torch.tensor(expected, dtype=torch.float64),
    }


def _of_tokens(model: GaugeForCausalLM, ids: Tensor) -> list[RunMeasure]:
    """Diversity of the embedded beliefs."""
    tables = model.model.beliefs
    embedded, _ = tables(ids, torch.arange(ids.shape[1])[None].expand(len(ids), -1))
    apart = torch.cdist(embedded.mean, embedded.mean)
    pairs = ~torch.eye(ids.shape[1], dtype=torch.bool)
    variance = embedded.log_variance.exp()
    found = [RunMeasure(measure="mean_distance", value=float(apart[:, pairs].mean()))]
    if tables.frame is not None:
        angles = bounded(exact(tables.frame(ids)))
        found.append(RunMeasure(measure="frame_spread", value=float(angles.std(1).mean()), unit="rad"))
    messages = {"least": variance.amin(), "mean": variance.mean(), "most": variance.amax()}
    return found + [RunMeasure(measure=f"variance_{name}", value=float(value)) for name, value in messages.items()]


CROWD = 16
"""Rows with fewer keys are left out of simulated means: their entropy says little."""

BATCH_NUMBERS = 2**22
"""Numbers of a simulated batch of rows by keys."""


@dataclass(frozen=True)
class Concentration:
    """Concentration of attention in simulated heads: entropy deficit, share of effective keys and largest weight,
    averaged over rows.

    Attributes:
        deficit: ``log n - H`` in nats.
        share: ``exp(H) / n``, effective keys over visible keys.
        largest: Largest weight.
    """

    deficit: float
    share: float
    largest: float


def entropy_deficit(dim: float, ratio: float) -> float:
    r"""Return a head's expected entropy deficit in nats, ``log n - H`` for n visible keys and attention entropy H;
    valid while rows have many effective keys.

    Reading: twice the dimension gives twice the nats at one ``ratio``; a head of 1 needs a smaller ratio than one of 5
    for the same nats, and gets there.
    Pitfall: it does not know n; where it nears ``log n``, rows have few keys left and it is too large.

    Args:
        dim: Dimension of the head.
        ratio: Temperature over the variance of a belief's component, ``kappa / s^2``.

    Raises:
        UsageError: An argument is not positive.
    """
    _check(dim=dim, ratio=ratio)
    spread = 1 / ratio
    part = spread / (1 + spread)
    return dim / 2 * (math.log1p(spread) - part + part**2)


def sharp_ratio(dim: float, keys: float) -> float:
    r"""Return the ratio ``kappa / s^2`` (temperature over variance of belief means) at which rows over ``n = keys``
    keys have about one effective key: :math:`n^{-2/d}`.

    Raises:
        UsageError: An argument is not positive.
    """
    _check(dim=dim, keys=keys)
    return keys ** (-2 / dim)


def least_dimension(ratio: float, share: float) -> int:
    """Return the smallest head dimension at which the effective keys ``exp(H)`` are at most the fraction ``share`` of
    visible keys, for ``kappa / s^2 = ratio``.

    Args:
        ratio: ``kappa / s^2``.
        share: Effective keys over visible keys, under 1.

    Raises:
        UsageError: ``ratio`` is not positive, or ``share`` not between 0 and 1.
    """
    if not 0 < share < 1:
        raise UsageError(f"share must lie between 0 and 1; came {share}")
    return max(1, math.ceil(math.log(1 / share) / entropy_deficit(1, ratio) - 1e-9))


def needed_ratio(dim: float, share: float) -> float:
    """Return the ratio ``kappa / s^2`` at which a head of dimension ``dim`` has effective keys ``exp(H)`` equal to the
    fraction ``share`` of visible keys.

    Raises:
        UsageError: ``dim`` is not positive, or ``share`` not between 0 and 1.
    """
    if not 0 < share < 1:
        raise UsageError(f"share must lie between 0 and 1; came {share}")
    low, high = 1e-300, 1e12
    wanted = math.log(1 / share)
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if entropy_deficit(dim, middle) > wanted else (low, middle)
    return math.sqrt(low * high)


def simulated_concentration(
    dim: int, ratio: float, keys: int, generator: torch.Generator, heads: int = 64
) -> Concentration:
    """Simulate causal heads with random normal beliefs, where each token sees only earlier tokens, and return their
    mean concentration.

    Args:
        dim: Dimension of the head.
        ratio: ``kappa / s^2``.
        keys: Tokens of the sequence, at least 17.
        generator: Of the beliefs.
        heads: Independent heads.

    Raises:
        UsageError: A size is too small, or the ratio not positive.
    """
    _check(dim=dim, ratio=ratio)
    if keys <= CROWD or heads < 1:
        raise UsageError(f"keys must be over {CROWD} and heads at least 1; came {keys} and {heads}")
    parts = [
        _rows(torch.randn(some, keys, dim, generator=generator, dtype=torch.float64), ratio)
        for some in _portions(heads, max(1, BATCH_NUMBERS // keys**2))
    ]
    deficit, share, largest = (float(column.mean()) for column in torch.cat(parts, dim=1))
    return Concentration(deficit, share, largest)


def _portions(total: int, most: int) -> list[int]:
    return [min(most, total - begun) for begun in range(0, total, most)]


def _rows(means: Tensor, ratio: float) -> Tensor:
    """Deficit, share and largest weight of every row with enough keys, ``(3, rows)``."""
    position = torch.arange(means.shape[1])
    logits = -torch.cdist(means, means).square() / (2 * ratio)
    logits = logits.masked_fill(position[None, :] >= position[:, None], -torch.inf)[:, CROWD:]
    logs = logits.log_softmax(-1)
    entropy = torch.special.entr(logs.exp()).sum(-1)
    seen = position[CROWD:].log()
    found = (seen - entropy, (entropy - seen).exp(), logs.amax(-1).exp())
    return torch.stack([column.flatten() for column in found])


def _check(**positive: float) -> None:
    for name, value in positive.items():
        if not value > 0:
            raise UsageError(f"{name} must be above 0; came {value}")
