"""Two processes of DDP record what one would have recorded of both their sequences."""

import socket
from pathlib import Path

import polars
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from tests.training.tracker.material import batches, qwen
from torch.nn.parallel import DistributedDataParallel

from heedful.training.tracker import AttentionTracker, read_table


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
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_are_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run(0, 1, port, tmp_path / "one")
    mp.spawn(run, args=(2, port, tmp_path / "two"), nprocs=2)
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
