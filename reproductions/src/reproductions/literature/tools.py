"""What the measurements share: losses document by document, exact weights, heads that are switched off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import heedful
from heedful.attention.call import AttentionCall

Place = tuple[int, int]
"""Layer and head."""

BATCH = 4
"""Documents that go through the model at once."""


@dataclass(frozen=True)
class Given:
    """A model and its text.

    Attributes:
        model: The model, in evaluation mode.
        naming: Documents on which heads are chosen, ``(document, position)``.
        held: Other documents, on which the choice is measured.
        wide: The held documents to twice the length, where they are long enough.
        layers: Number of layers.
        heads: Query heads of a layer.
        vocabulary: Tokens that can be drawn.
        tokenizer: The model's.
    """

    model: Any
    naming: Tensor
    held: Tensor
    wide: Tensor
    layers: int
    heads: int
    vocabulary: int
    tokenizer: Any

    @property
    def places(self) -> list[Place]:
        """Every head."""
        return [(layer, head) for layer in range(self.layers) for head in range(self.heads)]


def token_losses(model: nn.Module, ids: Tensor, batch: int = BATCH) -> NDArray[np.float64]:
    """Loss of every next token in nats, ``(document, position - 1)``.

    Args:
        model: A causal language model.
        ids: Tokens.
        batch: Documents at once.
    """
    found = []
    with torch.no_grad():
        for part in ids.split(batch):
            logits = model(input_ids=part).logits[:, :-1].float()
            loss = nn.functional.cross_entropy(logits.transpose(1, 2), part[:, 1:], reduction="none")
            found.append(loss.double().numpy())
    return np.concatenate(found)


def losses(model: nn.Module, ids: Tensor, batch: int = BATCH) -> NDArray[np.float64]:
    """Mean loss of each document in nats a token; arguments as of :func:`token_losses`."""
    return np.asarray(token_losses(model, ids, batch).mean(1))


def weights_of(model: nn.Module, ids: Tensor) -> Iterator[NDArray[np.float32]]:
    """Exact weights of every head, a document at a time, ``(layer, head, query, key)``.

    Args:
        model: Any model that heedful captures.
        ids: Tokens, ``(document, position)``.
    """
    with torch.no_grad():
        for one in ids:
            with heedful.capture(model) as session:
                model(input_ids=one[None])
            count = session.heads().group_by("layer").len().sort("layer")["len"].to_list()
            yield np.stack(
                [np.stack([session.weights(layer, head).numpy() for head in range(n)]) for layer, n in enumerate(count)]
            )


@contextmanager
def without(model: nn.Module, places: Iterable[Place], pattern: str = "zero") -> Iterator[None]:
    """A model some of whose heads give nothing, or follow another pattern.

    Args:
        model: The model.
        places: The heads.
        pattern: What takes their place, as for ``heedful.replace``.
    """
    by_layer: dict[int, list[int]] = {}
    for layer, head in places:
        by_layer.setdefault(layer, []).append(head)
    with ExitStack() as stack:
        if by_layer:
            stack.enter_context(heedful.replace(model, pattern, heads=by_layer))
        yield


def others(places: Sequence[Place], among: Sequence[Place], seed: int) -> list[Place]:
    """As many other heads at random, as many of each layer where it has enough of them.

    Args:
        places: Heads that are compared.
        among: Heads that may be drawn.
        seed: Seed of the draw.
    """
    random = np.random.default_rng(seed)
    free = [one for one in among if one not in set(places)]
    found: list[Place] = []
    for layer in sorted({layer for layer, _ in places}):
        wanted = sum(one == layer for one, _ in places)
        here = [one for one in free if one[0] == layer]
        random.shuffle(here)
        found += [(int(a), int(b)) for a, b in here[:wanted]]
    rest = [one for one in free if one not in set(found)]
    random.shuffle(rest)
    return found + [(int(a), int(b)) for a, b in rest[: len(places) - len(found)]]


def attend(call: AttentionCall, seen: Tensor | None = None, *, causal: bool = True) -> Tensor:
    """What a call gives, for functions that take the place of attention.

    Args:
        call: The call.
        seen: Which pairs a query may see, ``(query, key)``; None for all that come before, where it is causal.
        causal: Whether the model hides the future.

    Raises:
        ValueError: The call has no values.
    """
    return nn.functional.scaled_dot_product_attention(
        call.query,
        call.key,
        values_of(call),
        attn_mask=seen,
        is_causal=causal and seen is None,
        scale=call.scale,
        enable_gqa=True,
    )


def values_of(call: AttentionCall) -> Tensor:
    """Values of a call.

    Raises:
        ValueError: It has none.
    """
    if call.value is None:
        raise ValueError("expected a call with values")
    return call.value


def value_norms(given: Given, ids: Tensor, *, causal: bool = True) -> Tensor:
    """Norms of all values, ``(document, layer, key head, position)``.

    Args:
        given: The model.
        ids: Tokens.
        causal: Whether the model hides the future.
    """
    norms: list[Tensor] = []

    def look(call: AttentionCall) -> Tensor:
        norms.append(values_of(call).norm(dim=-1))
        return attend(call, causal=causal)

    with torch.no_grad(), heedful.replace(given.model, look):
        given.model(input_ids=ids)
    return torch.stack(norms, 1)


def repeats(vocabulary: int, count: int, period: int, seed: int) -> Tensor:
    """Sequences of random tokens, each said twice, ``(count, 2 * period)``.

    Args:
        vocabulary: Tokens to draw from.
        count: Sequences.
        period: Tokens before they begin again.
        seed: Seed of the draw.
    """
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(1000, vocabulary, (count, period), generator=draw).repeat(1, 2)
