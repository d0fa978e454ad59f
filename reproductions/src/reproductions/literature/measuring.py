"""Sinks, massive activations and induction measured on a trained decoder, document by document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import heedful
from heedful.attention.call import AttentionCall
from reproductions.literature.tools import (
    Given,
    Place,
    attend,
    losses,
    others,
    repeats,
    token_losses,
    value_norms,
    weights_of,
    without,
)

Found = dict[str, Any]
SINK = 0.3
WINDOW, KEPT = 60, 4
"""Last keys that a window sees; first keys that are kept beside them."""
DRAWS = 3
"""Random choices of heads beside a chosen one."""
REPEATS = (12, 24)
"""Sequences of random tokens that name induction heads, and others that measure them."""
PERIOD, NAMED = 32, 0.4
"""Tokens before random text begins again; mass from which a head is named by its pattern."""


def sinks(given: Given) -> Found:
    """Mass on the first key by document and layer: on text, after another first token, on random tokens."""
    random = torch.randint(1000, given.vocabulary, given.held.shape, generator=torch.Generator().manual_seed(3))
    newline = given.held.clone()
    newline[:, 0] = given.tokenizer("\n")["input_ids"][-1]
    found: Found = {}
    for name, ids in (("text", given.held), ("newline", newline), ("random", random)):
        mass = _first_key_mass(given, ids)
        found[f"{name}_by_layer"] = mass.mean(2).tolist()
        found[f"{name}_sinks"] = (mass > SINK).mean((1, 2)).tolist()
        if name == "text":
            by_head = mass.mean(0)
            chosen = by_head > min(SINK, float(by_head.max()) - 1e-9)  # the one that has most where none is a sink
            found["sink_heads"] = int(chosen.sum())
            found["value_ratio"] = _value_ratios(given, chosen).tolist()
    return found


def _first_key_mass(given: Given, ids: Tensor) -> NDArray[np.float64]:
    """``(document, layer, head)``, over the later half of each document's rows."""
    start = ids.shape[1] // 2
    return np.stack([one[:, :, start:, 0].mean(2) for one in weights_of(given.model, ids)]).astype(float)


def _value_ratios(given: Given, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Norm of the first key's value over the median of the others', mean of logs over sink heads, by document."""
    stacked = value_norms(given, given.held)
    ratio = (stacked[..., 0] / stacked[..., 1:].median(-1).values).log()
    of_heads = ratio.repeat_interleave(given.heads // ratio.shape[2], 2).numpy()
    return np.asarray(of_heads[:, chosen].mean(1), dtype=float)


def windows(given: Given) -> Found:
    """Loss of the tokens beyond the window: all keys, the last ones, and the last with the first four."""
    ids, late = given.wide, given.wide.shape[1] // 2

    def windowed(call: AttentionCall, kept: int, last: int) -> Tensor:
        place = torch.arange(call.n_keys)
        behind = place[:, None] - place[None]
        return attend(call, (behind >= 0) & ((behind < last) | (place[None] < kept)))

    found: Found = {"all": token_losses(given.model, ids)[:, late:].mean(1).tolist()}
    for name, kept, last in (("last", 0, WINDOW + KEPT), ("first_and_last", KEPT, WINDOW)):
        with heedful.replace(given.model, partial(windowed, kept=kept, last=last)):
            found[name] = token_losses(given.model, ids)[:, late:].mean(1).tolist()
    return found


def massive(given: Given) -> Found:
    """Largest components of hidden states, and the loss when the few of the first token are set to 0 or their mean."""
    ratios, places = _largest(given, given.held)
    _, known = _largest(given, given.naming)
    counted = {dim: sum(one[2] == dim for one in known) for dim in {one[2] for one in known}}
    dim = max(counted, key=lambda one: counted[one])
    layer, values = _massive_layer(given, dim)
    means = values.mean(0)
    keep = means.abs() > 0.1 * means.abs().max()
    found: Found = {
        "largest": [one[3] for one in places],
        "over_median": ratios,
        "at_first": [float(one[1] == 0) for one in places],
        "in_same_dim": [float(one[2] == dim) for one in places],
        "layer": layer,
        "dims": keep.nonzero()[:, 0].tolist(),
        "spread": _relative_spread(given, layer, dim),
        "intact": losses(given.model, given.held).tolist(),
    }
    for name, value in (("zero", torch.zeros_like(means)), ("mean", means)):
        with _set(given, layer, keep, value):
            found[name] = losses(given.model, given.held).tolist()
    found["others_zero"] = _others_zeroed(given, layer, keep)
    return found


def _hidden(given: Given, ids: Tensor) -> Tensor:
    """``(layer, document, position, width)``, after each layer but the last, whose output is normalised."""
    with torch.no_grad():
        states = given.model(input_ids=ids, output_hidden_states=True).hidden_states
    return torch.stack(states[1:-1])


def _largest(given: Given, ids: Tensor) -> tuple[list[float], list[tuple[int, int, int, float]]]:
    """Of each document the largest component over the median of its layer, and its layer, position, dim and value."""
    ratios, places = [], []
    for one in ids:
        states = _hidden(given, one[None])[:, 0].abs()
        layer, position, dim = (int(i) for i in np.unravel_index(int(states.argmax()), states.shape))
        top = float(states[layer, position, dim])
        ratios.append(top / float(states[layer].median()))
        places.append((layer, position, dim, top))
    return ratios, places


def _massive_layer(given: Given, dim: int) -> tuple[int, Tensor]:
    """First layer after which the first token's component is above half its most, and the states there."""
    states = _hidden(given, given.naming)[:, :, 0]
    size = states[:, :, dim].abs().mean(1)
    layer = int((size > 0.5 * size.max()).nonzero()[0, 0])
    return layer, states[layer]


def _relative_spread(given: Given, layer: int, dim: int) -> list[float]:
    """Distance of each held document's component from the mean of the naming documents, as a share of it."""
    mean = _hidden(given, given.naming)[layer, :, 0, dim].mean()
    return ((_hidden(given, given.held)[layer, :, 0, dim] - mean).abs() / mean.abs()).tolist()


@contextmanager
def _set(given: Given, layer: int, keep: Tensor, value: Tensor, position: int = 0) -> Iterator[None]:
    """The components of one position after a layer are set while the block runs."""

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        state = (output[0] if isinstance(output, tuple) else output).clone()
        state[:, position, keep] = value[keep]
        return (state, *output[1:]) if isinstance(output, tuple) else state

    handle = given.model.model.layers[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _others_zeroed(given: Given, layer: int, keep: Tensor) -> list[float]:
    """Loss with as many other components of the first token at random set to 0, mean of draws."""
    random = np.random.default_rng(0)
    free = (~keep).nonzero()[:, 0].numpy()
    found = []
    for _ in range(DRAWS):
        other = torch.zeros_like(keep)
        other[random.choice(free, min(len(free), int(keep.sum())), replace=False)] = True
        with _set(given, layer, other, torch.zeros(len(keep))):
            found.append(losses(given.model, given.held))
    return np.asarray(np.mean(found, axis=0), dtype=float).tolist()


def induction(given: Given) -> Found:
    """What induction heads do for repeats and for text, and what they do without the heads before them."""
    named = repeats(given.vocabulary, REPEATS[0], PERIOD, seed=1)
    held = repeats(given.vocabulary, REPEATS[1], PERIOD, seed=2)
    mass = _induction_mass(given, named).mean(0)
    previous = np.mean([_previous_mass(one) for one in weights_of(given.model, given.naming)], axis=0)
    heads = _beyond(mass, NAMED)
    first = max(1, min(layer for layer, _ in heads))
    before = _beyond(previous[:first], NAMED)
    random = [others(heads, given.places, seed) for seed in range(DRAWS)]
    found: Found = {"induction_heads": heads, "previous_heads": before, "heads": len(given.places)}
    for name, ids, part in (("repeats", held, _second_copy), ("text", given.wide, _context_gain)):
        found[f"{name}_intact"] = part(given, ids).tolist()
        with without(given.model, heads):
            found[f"{name}_without_induction"] = part(given, ids).tolist()
        found[f"{name}_without_others"] = _mean_without(given, random, lambda ids=ids, part=part: part(given, ids))
    found["mass_intact"] = _mass_of(given, held, heads)
    with without(given.model, before, "uniform"):
        found["mass_without_previous"] = _mass_of(given, held, heads)
    early = [one for one in given.places if one[0] <= max(layer for layer, _ in before)]
    beside = [others(before, [one for one in early if one not in heads], seed) for seed in range(DRAWS)]
    found["mass_without_others"] = _mean_without(given, beside, lambda: _mass_of(given, held, heads), "uniform")
    return found


def _mean_without(given: Given, choices: Sequence[Sequence[Place]], of: Any, pattern: str = "zero") -> list[float]:
    found = []
    for chosen in choices:
        with without(given.model, chosen, pattern):
            found.append(np.asarray(of()))
    return np.asarray(np.mean(found, axis=0), dtype=float).tolist()


def _beyond(mass: NDArray[np.float64], least: float) -> list[Place]:
    """Heads beyond a mass, or the one that has most where there is none."""
    return [(int(layer), int(head)) for layer, head in np.argwhere(mass > min(least, float(mass.max()) - 1e-9))]


def _induction_mass(given: Given, ids: Tensor) -> NDArray[np.float64]:
    """Mass on the key after the token's earlier occurrence, ``(sequence, layer, head)``, rows of the second copy."""
    rows = np.arange(PERIOD, 2 * PERIOD)
    return np.stack([one[:, :, rows, rows - PERIOD + 1].mean(-1) for one in weights_of(given.model, ids)])


def _mass_of(given: Given, ids: Tensor, heads: Sequence[Place]) -> list[float]:
    mass = _induction_mass(given, ids)
    return np.asarray(np.mean([mass[:, layer, head] for layer, head in heads], axis=0), dtype=float).tolist()


def _previous_mass(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    rows = np.arange(8, weights.shape[-1])
    return np.asarray(weights[:, :, rows, rows - 1].mean(-1), dtype=float)


def _second_copy(given: Given, ids: Tensor) -> NDArray[np.float64]:
    """Loss of the second copy, its first token left out."""
    return np.asarray(token_losses(given.model, ids)[:, PERIOD:].mean(1))


def _context_gain(given: Given, ids: Tensor) -> NDArray[np.float64]:
    """Loss of late tokens less that of early ones: below 0 where context helps."""
    found = token_losses(given.model, ids)
    return np.asarray(found[:, -64:].mean(1) - found[:, 24:56].mean(1))
