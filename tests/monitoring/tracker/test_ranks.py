"""Two processes of DDP record what one would have recorded of both their sequences."""

import sys
from collections.abc import Iterator
from pathlib import Path

import polars
import pytest
import torch
import torch.distributed as dist
from tests.monitoring.tracker.material import batches, qwen, two_processes
from torch.nn.parallel import DistributedDataParallel

from heedful.monitoring.tracker.attention_tracker import AttentionTracker
from heedful.monitoring.tracker.ranks import sum_of_all
from heedful.monitoring.tracker.table import read_table


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of gloo in this process, whose threads wait long for the interpreter."""
    before = sys.getswitchinterval()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    sys.setswitchinterval(1.0)
    yield
    sys.setswitchinterval(before)
    dist.destroy_process_group()


def test_nothing_of_the_backend_holds_a_tensor_afterwards(alone: None) -> None:
    """A thread that still does may never end: whoever ends the group waits for it and has what it waits for."""
    for _ in range(1000):
        own = torch.ones(2)
        before = sys.getrefcount(own)
        sum_of_all(own)
        assert sys.getrefcount(own) == before


def run(rank: int, ranks: int, port: int, out: Path) -> None:
    torch.set_num_threads(1)
    model = qwen()
    whole = model
    if ranks > 1:
        dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
        whole = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    with AttentionTracker(model, out=out, every=2, optimizer=optimizer, write=lambda line: None) as tracker:
        for ids in batches(2):
            part = ids[rank::ranks]
            loss = whole(input_ids=part, labels=part).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            tracker.step(loss)
    if ranks > 1:
        group = dist.group.WORLD  # outlives DDP, which would wait for the group's threads with the interpreter in hand
        dist.destroy_process_group()
        del whole, group


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    run(0, 1, 0, tmp_path / "one")
    two_processes(run, tmp_path / "two")
    one, two = (read_table(tmp_path / name).drop("seconds") for name in ("one", "two"))
    assert len(one) == len(two) > 100
    keys = ["step", "layer", "head", "part", "stage"]
    for name, kind in one.schema.items():
        first, second = (table.sort(keys, nulls_last=True)[name] for table in (one, two))
        if kind == polars.Float32:
            assert first.is_null().to_list() == second.is_null().to_list(), name
            assert first.drop_nulls().to_list() == pytest.approx(second.drop_nulls().to_list(), rel=2e-3, abs=2e-4), (
                name
            )
        else:
            assert first.to_list() == second.to_list(), name
