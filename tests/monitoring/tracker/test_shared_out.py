"""Two processes that share out every parameter (FSDP2) record what one would have recorded of both their sequences."""

from pathlib import Path

import polars
import pytest
import torch
import torch.distributed as dist
from tests.monitoring.tracker.material import batches, qwen, two_processes
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from heedful.monitoring.tracker.attention_tracker import AttentionTracker
from heedful.monitoring.tracker.table import read_table


def run(rank: int, ranks: int, port: int, out: Path) -> None:
    torch.set_num_threads(1)
    model = qwen()
    if ranks > 1:
        dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
        mesh = init_device_mesh("cpu", (ranks,))
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    with AttentionTracker(model, out=out, every=2, optimizer=optimizer, write=lambda line: None) as tracker:
        for ids in batches(2):
            part = ids[rank::ranks]
            loss = model(input_ids=part, labels=part).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            tracker.step(loss)
    if ranks > 1:
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_that_share_out_are_one(tmp_path: Path) -> None:
    run(0, 1, 0, tmp_path / "one")
    two_processes(run, tmp_path / "two")
    one, two = (read_table(tmp_path / name).drop("seconds") for name in ("one", "two"))
    place = ["step", "layer", "head", "part", "stage"]
    for part, name in (
        ("key", "norm_mean"), ("attention", "entropy_share"), ("key_gain", "gain_norm"), ("key_gain", "gain_decay"),
        ("step", "gradient_norm"), ("step", "loss"),
    ):  # fmt: skip
        first, second = (t.filter(polars.col("part") == part).sort(place, nulls_last=True)[name] for t in (one, two))
        assert len(first) and first.is_not_null().all(), name
        assert second.to_list() == pytest.approx(first.to_list(), rel=2e-3, abs=2e-4), name
    assert not set(two["part"]) & {"key_weight", "output_weight"}
    assert any("shared out over processes" in note for note in two["note"].drop_nulls())
