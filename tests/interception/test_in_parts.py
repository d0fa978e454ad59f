"""A sequence that comes in several forwards over a cache has the statistics that it has in one, padded or not."""

from __future__ import annotations

import inspect
import itertools
import math
from typing import Any

import polars
import pytest
import torch
from tests.interception.models import inputs_for, result_of, tiny
from torch import Tensor, nn

import heedful
from heedful.attention.registry import STATISTICS

ENDS = {"prompt and chunk": (14, 24), "chunks": (12, 13, 19, 24), "rows": (21, 22, 23, 24)}
"""Where the parts end. A left-padded sequence's first part holds all its padding."""

OF_ONE_CALL = {"row_std_seed", "visible_share"}
"""Statistics that count keys which a row does not see, and a cache does not hold yet."""


def in_parts(model: Any, inputs: dict[str, Tensor], ends: tuple[int, ...], start: int = 0, **cache: Any) -> Any:
    """One forward a part, each over the cache of those before it; the last cache under the model's own name for it."""
    word = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    ids, real = inputs["input_ids"], inputs["attention_mask"]
    positions = (real.cumsum(1) - 1).clamp_min(0)
    for end in ends:
        part = {"input_ids": ids[:, start:end], "position_ids": positions[:, start:end]}
        output = result_of(model, {**part, "attention_mask": real[:, :end]}, use_cache=True, **cache)
        start, cache = end, {word: output[word]}
    return cache


def assert_means(found: polars.DataFrame, expected: list[polars.DataFrame]) -> None:
    """A table of heads is the mean of tables of single sequences."""
    assert found["sequences"].unique().to_list() == [len(expected)]
    for name in sorted(set(STATISTICS) - OF_ONE_CALL):
        one = torch.tensor([frame[name].to_list() for frame in expected]).mean(0)
        torch.testing.assert_close(torch.tensor(found[name].to_list()), one, rtol=2e-5, atol=2e-5, msg=name)


SETTINGS = [
    (name, how, ends)
    for name, how in (
        ("llama", "sdpa"),
        ("llama", "eager"),
        ("gpt2", "sdpa"),
        ("mistral", "sdpa"),
        ("mistral", "eager"),
    )
    for ends in ENDS
]


@pytest.mark.parametrize("side", ["none", "left"])
@pytest.mark.parametrize(("name", "implementation", "ends"), SETTINGS)
def test_each_sequence_is_what_it_is_alone(name: str, implementation: str, side: str, ends: str) -> None:
    model, inputs = tiny(name, implementation), inputs_for(name, side)
    with heedful.capture(model) as session:
        in_parts(model, inputs, ENDS[ends])
    real = inputs["attention_mask"].bool()
    alone = []
    for row in range(len(real)):
        with heedful.capture(model) as one:
            result_of(model, {"input_ids": inputs["input_ids"][row, real[row]][None]})
        alone.append(one.heads())
    assert session.heads()["verified"].all()
    assert_means(session.heads(), alone)


class RememberingAttention(nn.Module):
    """Attention written out, over all keys that came since it was last told to forget.

    Position ``i`` sees keys up to ``last[i]``. The first ``blind`` positions do not see the key before their own, so
    that they have no previous mass.
    """

    num_heads = 2

    def __init__(self, last: Tensor, blind: int = 0) -> None:
        super().__init__()
        self.projection, self.last, self.blind = nn.Linear(8, 24), last, blind
        self.past: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.projection(x).chunk(3, dim=-1))
        self.past.append(torch.stack([key, value]))
        key, value = torch.cat(self.past, dim=-2)
        logits, (queries, keys) = 3 * query @ key.transpose(-1, -2), (query.shape[2], key.shape[2])
        own, key_at = torch.arange(keys - queries, keys)[:, None], torch.arange(keys)
        hidden = (key_at > self.last[own]) | ((key_at == own - 1) & (own < self.blind))
        weights = logits.masked_fill(hidden, -math.inf).softmax(-1)
        return (weights @ value).transpose(1, 2).flatten(2)


def assert_parts_are_the_whole(attention: RememberingAttention, sizes: tuple[int, ...]) -> None:
    x = torch.randn(3, sum(sizes), 8)
    model = nn.Sequential(attention)
    with torch.no_grad(), heedful.capture(model) as session:
        for part in x.split(sizes, dim=1):
            model(part)
    alone = []
    for sequence in x:
        attention.past.clear()
        with torch.no_grad(), heedful.capture(model) as one:
            model(sequence[None])
        alone.append(one.heads())
    assert session.heads()["verified"].all()
    assert_means(session.heads(), alone)


@pytest.mark.parametrize("sizes", [(10, 1, 1, 1, 7), (9, 11), (12, *(1,) * 8), (3, 6, 6, 5)])
@pytest.mark.parametrize("blind", [0, 11])
def test_attention_written_out(sizes: tuple[int, ...], blind: int) -> None:
    assert_parts_are_the_whole(RememberingAttention(torch.arange(20), blind), sizes)


@pytest.mark.parametrize("sizes", [(10, 5, 4), (9, 1, 8), (12, 2, 2, 2)])
def test_parts_that_see_all_of_themselves(sizes: tuple[int, ...]) -> None:
    """Every query of a part sees the part's last key: how the keys grow alone tells where queries stand."""
    last = torch.tensor(sizes).cumsum(0).sub(1).repeat_interleave(torch.tensor(sizes))
    assert_parts_are_the_whole(RememberingAttention(last), sizes)


def test_rows_without_a_key_before_do_not_count_in_its_mean() -> None:
    torch.manual_seed(1)
    attention, x = RememberingAttention(torch.arange(20), blind=11), torch.randn(2, 20, 8)
    with torch.no_grad(), heedful.capture(nn.Sequential(attention)) as session:
        session.model(x)
        query, key, _ = (p.unflatten(-1, (2, 4)).transpose(1, 2) for p in attention.projection(x).chunk(3, dim=-1))
    mean = []
    for head in range(2):
        rows = []
        for sequence, i in itertools.product(range(2), range(11, 20)):
            weights = (3 * key[sequence, head, : i + 1] @ query[sequence, head, i]).softmax(0)
            rows.append(float(weights[i - 1]))
        mean.append(sum(rows) / len(rows))
    assert session.heads()["previous_mass"].to_list() == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("hole", [13, 14, 23])
def test_a_token_that_is_left_out_moves_no_other(hole: int, implementation: str) -> None:
    """One sequence, so that no other tells where the queries of its second part stand."""
    model, inputs = tiny("llama", implementation), inputs_for("llama", batch=1)
    inputs["attention_mask"][0, hole] = 0
    frames = []
    for ends in ((24,), (12, 24)):
        with heedful.capture(model) as session:
            in_parts(model, inputs, ends)
        frames.append(session.heads())
    assert_means(frames[1], [frames[0]])


def test_other_sequences_do_not_go_on() -> None:
    """After three prompts of 12 tokens, two sequences whose next query stands at position 12 are no part of them."""
    model, inputs = tiny("llama"), inputs_for("llama", batch=3)
    pair = {name: value[:2].flip(1) for name, value in inputs.items()}
    begun = in_parts(model, pair, (12,))
    with heedful.capture(model) as session:
        in_parts(model, inputs, (12,))
        in_parts(model, pair, (24,), 12, **begun)
    assert session.heads()["sequences"].unique().to_list() == [5]


@pytest.mark.parametrize("hidden", [0, 1, 4])
def test_a_written_out_call_of_other_keys_has_no_diagonal(hidden: int) -> None:
    """More keys than queries, all of them but the last ones seen by all queries: where queries stand is not known."""

    class AcrossAttention(nn.Module):
        num_heads = 2

        def __init__(self) -> None:
            super().__init__()
            self.projection = nn.Linear(8, 24)

        def forward(self, x: Tensor) -> Tensor:
            query, key, value = (
                part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.projection(x).chunk(3, dim=-1)
            )
            logits = query[:, :, :5] @ key.transpose(-1, -2)
            return logits.masked_fill(torch.arange(24) >= 24 - hidden, -math.inf).softmax(-1) @ value

    attention = AcrossAttention()
    with torch.no_grad(), heedful.capture(nn.Sequential(attention)) as session:
        session.model(torch.randn(2, 24, 8))
    frame = session.heads()
    assert frame["self_mass"].is_null().all() and not frame["row_entropy"].is_null().any()
