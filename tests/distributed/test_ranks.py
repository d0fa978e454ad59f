"""Several ranks in threads of one process: rows divided and added up, and what happens when one does not come."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from heedful.distributed import ranks as room
from heedful.distributed.ranks import ALONE, Ranks, checksum
from heedful.errors import InputRejected, RankLost


def together(work: Callable[[Ranks], Any], count: int, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each rank's work gives, or the error it ends with; sums are made here in place of gloo."""
    store, barrier, given = dist.HashStore(), threading.Barrier(count, timeout=10), {}

    def summed(self: Ranks, flat: np.ndarray) -> np.ndarray:
        given[self.rank] = flat
        barrier.wait()
        total = sum(given[rank] for rank in range(count))
        barrier.wait()
        return total

    def one(rank: int) -> Any:
        try:
            return work(Ranks(rank, count, store))
        except (RankLost, InputRejected) as error:
            return error

    monkeypatch.setattr(Ranks, "_summed", summed)
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def batches(*sizes: int) -> list[Any]:
    return [SimpleNamespace(index=torch.arange(size)) for size in sizes]


def test_one_process_has_everything_and_copies_nothing() -> None:
    array = np.ones(3)
    assert ALONE.merged([array], np.ones(3, dtype=bool))[0] is array
    assert ALONE.own([1, 2, 3]) == [1, 2, 3] and ALONE.own_rows(batches(2, 1)).all() and ALONE.first("word")


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_batch_belongs_to_one_rank(count: int) -> None:
    plan = batches(4, 4, 3)
    own = [Ranks(rank, count).own(plan) for rank in range(count)]
    assert sorted(id(b) for part in own for b in part) == sorted(id(b) for b in plan)
    rows = np.stack([Ranks(rank, count).own_rows(plan) for rank in range(count)])
    assert (rows.sum(0) == 1).all() and rows.shape == (count, 11)
    assert max(map(len, own)) - min(map(len, own)) <= 1


def test_ranks_that_divide_the_model_all_run_every_batch_and_the_first_answers() -> None:
    plan = batches(4, 3)
    parts = [Ranks(rank, 3, divide="tensor") for rank in range(3)]
    assert all(part.run(plan) == plan and part.run_rows(plan).all() for part in parts)
    assert [part.own_rows(plan).sum() for part in parts] == [7, 0, 0]
    documents = Ranks(1, 3)
    assert documents.run(plan) == [plan[1]] and documents.run_rows(plan).tolist() == documents.own_rows(plan).tolist()


def test_all_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    assert together(lambda ranks: ranks.agree(True), 3, monkeypatch) == [True] * 3
    assert together(lambda ranks: ranks.agree(ranks.rank != 1), 3, monkeypatch) == [False] * 3


def test_a_broken_exchange_of_a_divided_model_is_a_lost_rank() -> None:
    gone = RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234")
    assert "rank 0 of 2 ended while the model ran" in str(Ranks(1, 2, divide="tensor").lost(gone))
    assert Ranks(1, 2).lost(gone) is None
    assert Ranks(1, 2, divide="tensor").lost(RuntimeError("shape '[2]' is invalid")) is None
    assert Ranks(1, 2, divide="tensor").lost(ValueError("timed out")) is None


@pytest.mark.parametrize("count", [2, 3, 4])
def test_merged_is_whole_to_the_bit(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = batches(4, 4, 3)
    whole = [np.random.default_rng(0).normal(size=(11, 2, 3)), np.arange(11.0)]
    whole[0][2, 1], whole[0][5, 0], whole[0][10] = np.nan, np.inf, -np.inf

    def work(ranks: Ranks) -> list[np.ndarray]:
        rows = ranks.own_rows(plan)
        mine = [np.where(rows.reshape(-1, *[1] * (a.ndim - 1)), a, np.nan) for a in whole]
        return [*ranks.merged(mine, rows), *ranks.merged(mine[1:], rows)]

    for found in together(work, count, monkeypatch):
        for got, expected in zip(found, [*whole, whole[1]], strict=True):
            np.testing.assert_array_equal(got, expected)


def test_other_shapes_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    found = together(
        lambda ranks: ranks.merged([np.zeros((2, 1 + ranks.rank))], np.ones(2, dtype=bool)), 2, monkeypatch
    )
    assert all(isinstance(error, RankLost) and "different shapes" in str(error) for error in found)


def test_other_weights_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert together(lambda ranks: ranks.ensure_same("weights", 5), 2, monkeypatch) == [None, None]
    found = together(lambda ranks: ranks.ensure_same("weights", ranks.rank), 2, monkeypatch)
    assert all(isinstance(error, InputRejected) and "different weights" in str(error) for error in found)


def test_a_rank_that_gives_no_sign_of_life_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "TIMEOUT", 0.2)

    def work(ranks: Ranks) -> None:
        if ranks.rank == 0:
            ranks.ensure_same("weights", 1)

    assert "rank 1 of 2 is lost: no sign of life" in str(together(work, 2, monkeypatch)[0])


def test_a_slow_rank_that_lives_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "TIMEOUT", 0.3)
    monkeypatch.setattr(room, "BEAT", 0.05)

    def work(ranks: Ranks) -> None:
        over = threading.Event()
        thread = threading.Thread(target=room._beat, args=(ranks.store, ranks.rank, over))
        thread.start()
        if ranks.rank == 1:
            threading.Event().wait(1.0)
        try:
            ranks.ensure_same("weights", 1)
        finally:
            over.set()
            thread.join()

    assert together(work, 2, monkeypatch) == [None, None]


def test_one_rank_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(together(lambda ranks: ranks.first("word"), 3, monkeypatch)) == [False, False, True]


def test_checksums_tell_weights_apart() -> None:
    one, other = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    assert checksum(one.parameters()) == checksum(one.parameters()) != checksum(other.parameters())
