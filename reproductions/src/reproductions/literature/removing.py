"""Heads of a trained decoder that are left out or made constant, heads that retrieve, entropy, and an encoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import heedful
from heedful.attention.call import AttentionCall
from reproductions.literature.measuring import DRAWS, Found
from reproductions.literature.tools import (
    BATCH,
    Given,
    Place,
    attend,
    losses,
    others,
    value_norms,
    weights_of,
    without,
)

FRACTIONS, ALONE = (0.1, 0.2, 0.4), 40
"""Shares of heads that are left out; heads that are left out alone."""
NEEDLE, BEFORE, AFTER, RETRIEVES = 6, 40, 60, 0.1
"""Tokens to copy; tokens of text before and after them; score from which a head retrieves."""
SINK, DORMANT_VALUE = 0.3, 0.5


def pruning(given: Given) -> Found:
    """Loss without heads by importance and at random, without each of some alone, and with constant patterns."""
    importance = _importance(given)
    order = [given.places[place] for place in np.argsort(importance.ravel())]
    found: Found = {"intact": losses(given.model, given.held).tolist(), "heads": len(order)}
    for share in FRACTIONS:
        count = round(share * len(order))
        with without(given.model, order[:count]):
            found[f"least_{share:g}"] = losses(given.model, given.held).tolist()
    found["random_0.2"] = _mean(
        given, [others(order[: round(0.2 * len(order))], given.places, seed) for seed in range(DRAWS)]
    )
    alone = np.random.default_rng(5).choice(len(order), ALONE, replace=False)
    found["alone"] = []
    for place in sorted(alone.tolist()):
        with without(given.model, [given.places[place]]):
            found["alone"].append({"head": given.places[place], "losses": losses(given.model, given.held).tolist()})
    for name, chosen in (("half", order[: len(order) // 2]), ("all", order)):
        with without(given.model, chosen, "mean"):
            found[f"constant_{name}"] = losses(given.model, given.held, batch=len(given.held)).tolist()
    return found


def _mean(given: Given, choices: list[list[Place]]) -> list[float]:
    found = []
    for chosen in choices:
        with without(given.model, chosen):
            found.append(losses(given.model, given.held))
    return np.asarray(np.mean(found, axis=0), dtype=float).tolist()


def _importance(given: Given) -> NDArray[np.float64]:
    """Mean over documents of the size of the loss's derivative by a factor of a head's output, ``(layer, head)``."""
    factors: list[Tensor] = []

    def scaled(call: AttentionCall) -> Tensor:
        factors.append(torch.ones(1, call.heads, 1, 1, requires_grad=True))
        return attend(call) * factors[-1]

    total = np.zeros((given.layers, given.heads))
    for one in given.naming:
        factors.clear()
        with heedful.replace(given.model, scaled):
            logits = given.model(input_ids=one[None]).logits[0, :-1]
        loss = nn.functional.cross_entropy(logits, one[1:])
        slopes = torch.autograd.grad(loss, factors)
        total += torch.stack([slope.flatten().abs() for slope in slopes]).double().numpy()
    return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True))


def dormant(given: Given) -> Found:
    """Loss without heads that rest on a first key of small value, and without as many others."""
    mass = np.mean([one[:, :, 64:, 0].mean(2) for one in weights_of(given.model, given.naming)], axis=0)
    ratio = _value_ratio(given, given.naming)
    chosen = [(int(a), int(b)) for a, b in np.argwhere((mass > 2 * SINK) & (ratio < DORMANT_VALUE))]
    found: Found = {"dormant": chosen, "intact": losses(given.model, given.held).tolist()}
    with without(given.model, chosen):
        found["without"] = losses(given.model, given.held).tolist()
    found["without_others"] = _mean(given, [others(chosen, given.places, seed) for seed in range(DRAWS)])
    return found


def _value_ratio(given: Given, ids: Tensor) -> NDArray[np.float64]:
    """Norm of the first key's value over the median of the others', ``(layer, head)``, mean over documents."""
    stacked = value_norms(given, ids)
    ratio = (stacked[..., 0] / stacked[..., 1:].median(-1).values).mean(0)
    return np.asarray(ratio.repeat_interleave(given.heads // ratio.shape[1], 1).numpy(), dtype=float)


def last_layers(given: Given) -> Found:
    """Loss without the attention of the last three layers at once."""
    layers = list(range(given.layers - 3, given.layers))
    found: Found = {"layers": layers, "intact": losses(given.model, given.held).tolist()}
    with without(given.model, [one for one in given.places if one[0] in layers]):
        found["without"] = losses(given.model, given.held).tolist()
    return found


def retrieval(given: Given) -> Found:
    """Heads whose most attended key is the needle token that comes next, and what is copied without them."""
    needles = {
        name: _haystacks(given, ids, seed) for name, ids, seed in (("named", given.naming, 1), ("held", given.held, 2))
    }
    scores = {name: _scores(given, *one) for name, one in needles.items()}
    by_head = scores["named"].mean(0)
    best = [(int(a), int(b)) for a, b in np.argwhere(by_head >= RETRIEVES)]
    best.sort(key=lambda one: -by_head[one])
    few = best[: max(1, round(0.05 * len(given.places)))]
    beside = [one for one in given.places if by_head[one] < RETRIEVES]
    found: Found = {"retrieval_heads": best, "left_out": few, "heads": len(given.places)}
    found["score_held"] = scores["held"].reshape(len(scores["held"]), -1).tolist()
    ids, start, _ = needles["held"]
    found["copied_intact"], found["loss_intact"] = _copied(given, ids, start)
    with without(given.model, few):
        found["copied_without"], found["loss_without"] = _copied(given, ids, start)
    copies, rises = [], []
    for seed in range(DRAWS):
        with without(given.model, others(few, beside, seed)):
            copied, loss = _copied(given, ids, start)
        copies.append(copied)
        rises.append(loss)
    found["copied_without_others"] = np.mean(copies, axis=0).tolist()
    found["loss_without_others"] = np.mean(rises, axis=0).tolist()
    return found


def _haystacks(given: Given, ids: Tensor, seed: int) -> tuple[Tensor, int, int]:
    """Text, a sentence with random words, text, the sentence's begin and the words again; where they begin twice."""
    random = np.random.default_rng(seed)
    words = _words(given)
    lead = given.tokenizer(" The secret words are")["input_ids"]
    made = []
    for one in ids.tolist():
        needle = random.choice(words, NEEDLE, replace=False).tolist()
        end = given.tokenizer(".")["input_ids"]
        made.append(one[:BEFORE] + lead + needle + end + one[BEFORE : BEFORE + AFTER] + lead + needle)
    first = BEFORE + len(lead)
    again = len(made[0]) - NEEDLE
    return torch.tensor(made), again, first


def _words(given: Given) -> list[int]:
    """Single tokens that are lower-case words of at least four letters."""
    pieces = given.tokenizer.convert_ids_to_tokens(list(range(1000, 20_000)))
    return [
        i + 1000
        for i, one in enumerate(pieces)
        if one[:1] == "Ġ" and one[1:].isalpha() and one[1:].islower() and len(one) > 4
    ]


def _scores(given: Given, ids: Tensor, again: int, first: int) -> NDArray[np.float64]:
    """Share of the copied tokens at which a head's most attended key is the token to copy, ``(doc, layer, head)``."""
    rows = np.arange(again - 1, again - 1 + NEEDLE)
    keys = np.arange(first, first + NEEDLE)
    return np.stack([(one[:, :, rows].argmax(-1) == keys).mean(-1) for one in weights_of(given.model, ids)])


def _copied(given: Given, ids: Tensor, again: int) -> tuple[list[float], list[float]]:
    """Share of needle tokens that the model predicts, and their loss, by document."""
    right, loss = [], []
    with torch.no_grad():
        for part in ids.split(BATCH):
            logits = given.model(input_ids=part).logits[:, again - 1 : -1].float()
            wanted = part[:, again:]
            right.append((logits.argmax(-1) == wanted).double().mean(1))
            loss.append(nn.functional.cross_entropy(logits.transpose(1, 2), wanted, reduction="none").double().mean(1))
    return torch.cat(right).tolist(), torch.cat(loss).tolist()


def entropy(given: Given) -> Found:
    """Entropy over its most of every head by document, and the spectral norm of its query-key product."""
    rows = np.arange(8, given.held.shape[1])
    found = []
    for one in weights_of(given.model, given.held):
        weights = one[:, :, rows].astype(float)
        own = -(weights * np.log(np.maximum(weights, 1e-30))).sum(-1) / np.log(rows + 1)
        found.append(own.mean(-1).ravel().tolist())
    norms, layers = [], []
    for layer, block in enumerate(given.model.model.layers):
        attention: Any = block.self_attn
        size = attention.head_dim
        query = attention.q_proj.weight.detach().double().view(given.heads, size, -1)
        key = attention.k_proj.weight.detach().double().view(-1, size, query.shape[-1])
        gain = block.input_layernorm.weight.detach().double()
        for head in range(given.heads):
            pair = (query[head] * gain, key[head // (given.heads // len(key))] * gain)
            norms.append(_spectral(*pair))
            layers.append(layer)
    return {"entropy": found, "spectral_norm": norms, "layer": layers}


def _spectral(query: Tensor, key: Tensor) -> float:
    """Largest singular value of ``query' key`` from the small matrices that have the same."""
    small = torch.linalg.qr(query.T)[1] @ torch.linalg.qr(key.T)[1].T
    return float(torch.linalg.matrix_norm(small, 2))


def encoder(given: Given) -> Found:
    """Of an encoder: mass on the separator and on neighbours, by document, and the norm of the separator's value."""
    last = given.held.shape[1] - 1
    inner = np.arange(1, last)
    rows = {name: list(weights_of(given.model, ids)) for name, ids in (("", given.held), ("_named", given.naming))}
    beside = {
        f"{name}{part}": np.stack([one[:, :, inner, inner + step].mean(-1).ravel() for one in found]).tolist()
        for part, found in rows.items()
        for name, step in (("before", -1), ("after", 1))
    }
    marks = [one[:, :, inner, last].mean(-1) for one in rows[""]]
    stacked = value_norms(given, given.held, causal=False)
    ratio = (stacked[..., last] / stacked[..., 1:last].median(-1).values).log().mean((1, 2))
    return {
        "heads": given.heads,
        "separator_by_layer": np.stack(marks).mean(2).tolist(),
        "separator_value": ratio.tolist(),
        **beside,
    }
