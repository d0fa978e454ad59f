"""Rules against loops over pairs, written out."""

from __future__ import annotations

import torch

from heedful.contract.record import Promise
from heedful.contract.rules import Rules


def shown(rules: Rules, batch: int = 1) -> list[list[bool]]:
    keys = torch.arange(rules.keys)
    hidden = torch.zeros(batch, rules.queries, rules.keys, dtype=torch.bool)
    for pairs in rules.hidden(keys).values():
        hidden |= pairs
    return (~hidden)[0].tolist()


def promise(name: str, value: object) -> Promise:
    return Promise(name, value, "test")


def test_a_window_counts_the_query_itself() -> None:
    rules = Rules(queries=7, keys=7, direction=promise("direction", "causal"), window=promise("window", 3))
    assert shown(rules) == [[i - 3 < j <= i for j in range(7)] for i in range(7)]


def test_a_window_of_both_sides_counts_distances() -> None:
    both = promise("direction", "both")
    rules = Rules(queries=7, keys=7, direction=both, window=promise("window", 2))
    assert shown(rules) == [[abs(i - j) <= 2 for j in range(7)] for i in range(7)]
    rules = Rules(queries=7, keys=7, direction=both, window=promise("window", 2), both_edges_exclusive=True)
    assert shown(rules) == [[abs(i - j) < 2 for j in range(7)] for i in range(7)]


def test_chunks_begin_at_the_first_live_key() -> None:
    real = torch.tensor([[False, False, True, True, True, True, True]])
    rules = Rules(
        queries=7,
        keys=7,
        direction=promise("direction", "causal"),
        chunk=promise("chunk", 3),
        padding=promise("padding", ""),
        real=real,
    )
    wanted = [[j <= i and j >= 2 and (j - 2) // 3 == (i - 2) // 3 for j in range(7)] for i in range(7)]
    assert shown(rules) == wanted


def test_a_block_sees_its_own_future_and_no_other() -> None:
    labels = torch.tensor([[0, 0, 0, -1, 1, 1, -1]])
    rules = Rules(
        queries=7,
        keys=7,
        direction=promise("direction", "causal"),
        blocks=promise("blocks", ""),
        block_labels=labels,
    )
    own = labels[0].tolist()
    assert shown(rules) == [[j <= i or own[i] == own[j] >= 0 for j in range(7)] for i in range(7)]


def test_documents_of_unknown_positions_hide_nothing() -> None:
    labels = torch.tensor([[0, 0, 1, 1, -1]])
    rules = Rules(queries=5, keys=5, documents=promise("documents", ""), labels=labels)
    own = labels[0].tolist()
    assert shown(rules) == [[own[i] < 0 or own[j] < 0 or own[i] == own[j] for j in range(5)] for i in range(5)]


def test_queries_behind_a_cache_stand_at_the_end() -> None:
    rules = Rules(queries=2, keys=6, offset=4, direction=promise("direction", "causal"), window=promise("window", 3))
    assert shown(rules) == [[i + 4 - 3 < j <= i + 4 for j in range(6)] for i in range(2)]


def test_telling_keys_hold_every_edge() -> None:
    labels = torch.tensor([[0] * 50 + [1] * 30 + [2] * 20])
    rules = Rules(queries=100, keys=100, labels=labels, documents=promise("documents", ""))
    assert {0, 49, 50, 79, 80, 99} <= set(rules.telling_keys(16))
    assert len(rules.telling_keys(16)) == 16
