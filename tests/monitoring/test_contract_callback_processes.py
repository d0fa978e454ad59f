"""The contract of a run over two processes: DDP and FSDP, uneven rows, gradient checkpointing, and a breach on one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.places import ROOT

SCRIPT = """
import os
import sys
import torch
import torch.distributed as dist
from tests.contract.architectures import made
from tests.contract.planting import packed
from heedful.monitoring.contract_callback import ContractBroken, ContractCallback

how = sys.argv[1]
dist.init_process_group("gloo")
rank = dist.get_rank()
model = made("llama", "sdpa").train()
if "checkpointing" in how:
    model.gradient_checkpointing_enable()
if how.startswith("ddp"):
    model = torch.nn.parallel.DistributedDataParallel(model)
else:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    mesh = init_device_mesh("cpu", (2,))
    for layer in model.model.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
batch = packed("llama", use_cache=False)
if "padded" in how and rank == 1:
    mask = torch.ones_like(batch["input_ids"])
    mask[:, -6:] = 0
    batch = {"input_ids": batch["input_ids"], "attention_mask": mask, "use_cache": False}
if "broken" in how and rank == 1:
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
told = []
try:
    with ContractCallback(None if "without" in how else model, every=2, write=told.append) as watch:
        for _ in range(2):
            loss = model(**batch, labels=batch["input_ids"]).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    end = f"held {[report.held for report in watch.reports]} costs {watch.costs} loss {loss.item():.6f}"
except ContractBroken as broken:
    end = f"stopped {broken}"
open(f"said-{rank}", "w").write(f"rank {rank}: {end} | lines {len(told)}")  # lines of two processes may run together
dist.barrier()
os._exit(0)  # gloo's threads sometimes abort an interpreter that ends by itself
"""


def run(folder: Path, how: str) -> dict[int, str]:
    (folder / "run.py").write_text(SCRIPT)
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "run.py", how]
    done = subprocess.run(
        [sys.executable, *launcher], cwd=folder, env=variables, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return {rank: (folder / f"said-{rank}").read_text() for rank in (0, 1)}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp", "fsdp", "ddp checkpointing", "fsdp checkpointing"])
def test_each_process_checks_its_rows_and_training_is_as_without(tmp_path: Path, how: str) -> None:
    message, plain = run(tmp_path, how), run(tmp_path, f"{how} without")
    for rank in (0, 1):
        assert "held [True, True] costs [3, 3]" in message[rank]
        assert message[rank].split("loss ")[1].split(" ")[0] == plain[rank].split("loss ")[1].split(" ")[0]
    assert message[0].endswith("lines 2") and message[1].endswith("lines 0")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp padded", "fsdp padded"])
def test_rows_that_need_a_forward_more_hang_nobody(tmp_path: Path, how: str) -> None:
    message = run(tmp_path, how)
    assert "costs [4, 4]" in message[1]
    assert ("costs [4, 4]" if how.startswith("fsdp") else "held [True, True]") in message[0]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ddp broken", "fsdp broken"])
def test_a_breach_on_one_stops_both_and_is_told_once(tmp_path: Path, how: str) -> None:
    message = run(tmp_path, how)
    for rank in (0, 1):
        assert "stopped contract on rank 1 of 2: documents is broken in model.layers.0.self_attn" in message[rank]
    assert not message[0].endswith("lines 0") and message[1].endswith("lines 0")
