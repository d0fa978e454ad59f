"""Nothing stands on a model after a forward that raised, or after the one that was measured."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars
import pytest
import torch
import torch.distributed as dist
from tests.monitoring.tracker.material import batches, qwen, two_processes
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer, TrainingArguments
from transformers.modeling_utils import AttentionInterface

from heedful.interception.uncompiled import _hold
from heedful.monitoring.tracker.attention_tracker import AttentionTracker
from heedful.monitoring.tracker.forward_sums import ForwardRecorder, sum_of_all
from heedful.monitoring.tracker.table import read_table
from heedful.monitoring.vectors.vectors import Sample

ITEMS = [{"input_ids": ids, "labels": ids} for ids in batches(24, batch=1)[:, 0]]


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def raising(*given: Any) -> None:
    raise ValueError("planted")


@pytest.mark.parametrize("compiled", [False, True])
def test_a_forward_that_raises_in_the_trainer_leaves_nothing(compiled: bool, tmp_path: Path) -> None:
    model = qwen()
    table = dict(AttentionInterface._global_mapping)
    planted = model.model.layers[1].mlp.register_forward_pre_hook(raising)
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=2, report_to="none", use_cpu=True, disable_tqdm=True,
        save_strategy="no", torch_compile=compiled, torch_compile_backend="eager" if compiled else None,
    )  # fmt: skip
    tracker = AttentionTracker(out=tmp_path / "run", every=1, write=lambda line: None)
    trainer = Trainer(model=model, args=arguments, train_dataset=ITEMS, callbacks=[tracker])
    with pytest.raises(ValueError, match="planted"):
        trainer.train()
    planted.remove()
    assert hooks(model) == 0 and _hold.count == 0
    assert dict(AttentionInterface._global_mapping) == table


def test_nothing_stands_between_a_measured_forward_and_the_end_of_its_step() -> None:
    model = qwen()
    watch = ForwardRecorder(model, Sample(), 0, True)
    assert hooks(model) == 2 and _hold.count == 1
    with torch.no_grad():
        model(input_ids=batches(1)[0])  # evaluation does not count
    assert not watch.done and hooks(model) == 2
    model(input_ids=batches(1)[0])
    assert watch.done and hooks(model) == 0 and _hold.count == 0


def test_a_tracker_that_is_gone_takes_its_hooks_along(tmp_path: Path) -> None:
    model = qwen()
    tracker = AttentionTracker(out=tmp_path, write=lambda line: None)
    tracker.on_train_begin(TrainingArguments(output_dir=str(tmp_path), use_cpu=True), _state(), None, model=model)
    tracker.on_step_begin(None, _state(), None)
    assert hooks(model) == 2
    del tracker  # an exception between the begin of a step and its forward
    assert hooks(model) == 0 and _hold.count == 0


def test_a_hook_of_another_made_last_is_not_lost_among_ours(tmp_path: Path) -> None:
    model = qwen()
    watch = ForwardRecorder(model, Sample(), 0, True)
    later: list[Any] = []

    def plant(*given: Any) -> None:
        later.append(model.register_forward_hook(lambda *a: None))
        raise ValueError("planted")

    model.model.layers[0].register_forward_pre_hook(plant)
    with pytest.raises(ValueError, match="planted"):
        model(input_ids=batches(1)[0])
    assert watch.broken
    watch.close()
    assert hooks(model) == 2 and _hold.count == 0  # the planted one, and the one it made


def test_a_compiled_model_is_recorded_eagerly_and_runs_compiled_again(tmp_path: Path) -> None:
    graphs = []

    def backend(graph: Any, examples: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    model = qwen()
    compiled = torch.compile(model, backend=backend)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    seen = []
    given = {"optimizer": optimizer, "sample": Sample(sequences=1), "write": lambda line: None}
    with AttentionTracker(model, out=tmp_path, every=3, **given) as tracker:
        for place, ids in enumerate(batches(4, batch=2)):
            for part in ids.split(1):  # two parts of one step
                loss = compiled(input_ids=part, labels=part).loss
                loss.backward()
                if place == 0:
                    seen.append(len(graphs))
            optimizer.step()
            optimizer.zero_grad()
            tracker.step(loss)
    torch._dynamo.reset()
    assert seen[0] == 0 and seen[1] > 0  # the measured part is eager, the one after it is not
    table = read_table(tmp_path)
    assert table["step"].unique(maintain_order=True).to_list() == [1, 3]
    assert set(table.filter(polars.col("part") == "key")["vectors"]) == {48}


def _state() -> Any:
    class State:
        global_step = 0

    return State()


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
