"""The contract of a run: its first batch as the trainer passes it, in Trainer, plain loops and over processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tests.contract.architectures import batch_of, made
from tests.contract.planting import packed
from torch import nn
from torch.utils.data import Dataset

from heedful.errors import UsageError
from heedful.monitoring.contract_callback import ContractBroken, ContractCallback


class Rows(Dataset[dict[str, torch.Tensor]]):
    """Packed rows, with or without a mask of ones."""

    def __init__(self, *, masked: bool) -> None:
        self.masked = masked

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        batch = packed("llama")
        row = {name: value[0] for name, value in batch.items()}
        more = {"attention_mask": torch.ones_like(row["input_ids"])} if self.masked else {}
        return {**row, **more, "labels": row["input_ids"]}


def trained(folder: Path, callback: ContractCallback, *, masked: bool, checkpointing: bool = False) -> nn.Module:
    from transformers import Trainer, TrainingArguments

    model = made("llama", "sdpa")
    arguments = TrainingArguments(
        str(folder),
        max_steps=3,
        per_device_train_batch_size=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="no",
        save_strategy="no",
    )
    if checkpointing:
        model.gradient_checkpointing_enable()  # type: ignore[operator]
    Trainer(model=model, args=arguments, train_dataset=Rows(masked=masked), callbacks=[callback]).train()
    return model


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated:FutureWarning")
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_sound_run_is_checked_and_goes_on(tmp_path: Path, checkpointing: bool) -> None:
    messages: list[str] = []
    callback = ContractCallback(every=2, write=messages.append)
    model = trained(tmp_path, callback, masked=False, checkpointing=checkpointing)
    assert [report.held for report in callback.reports] == [True, True] and callback.forwards >= 3
    assert "documents" in messages[0] and "hold (3 forwards, " in messages[0] and callback.costs == [3, 3]
    assert not model._forward_pre_hooks and len(callback.seconds) == 2


def test_a_leaking_run_is_stopped_at_its_first_batch(tmp_path: Path) -> None:
    messages: list[str] = []
    callback = ContractCallback(write=messages.append)
    with pytest.raises(ContractBroken, match=r"documents is broken in model\.layers\.0\.self_attn"):
        trained(tmp_path, callback, masked=True)
    assert callback.forwards == 1 and any("remedy:" in line for line in messages)


def test_a_warned_run_goes_on(tmp_path: Path) -> None:
    callback = ContractCallback(on_breach="warn", write=lambda line: None)
    trained(tmp_path, callback, masked=True)
    assert [report.held for report in callback.reports] == [False]


def test_training_is_as_it_would_be_without(tmp_path: Path) -> None:
    plain = ContractCallback(write=lambda line: None)
    checked = trained(tmp_path / "a", plain, masked=False)
    callback = ContractCallback(write=lambda line: None)
    callback._meets = lambda *given: None  # type: ignore[method-assign]
    other = trained(tmp_path / "b", callback, masked=False)
    for one, two in zip(checked.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_plain_loop_and_evaluation() -> None:
    messages: list[str] = []
    model = made("llama", "sdpa")
    with ContractCallback(model, write=messages.append) as watch:
        model(**batch_of("llama"))  # evaluation does not count
        assert watch.forwards == 0
        model.train()
        model(batch_of("llama")["input_ids"])
        assert "positional arguments" in messages[-1] and not watch.reports
    with ContractCallback(model, write=messages.append) as watch:
        model(**batch_of("llama"))
    assert watch.reports[0].held and not model._forward_pre_hooks and model.training


def test_a_batch_that_is_refused_is_said_and_not_fatal() -> None:
    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            return self.inner(states)

    messages: list[str] = []
    model = Narrow().train()
    with ContractCallback(model, write=messages.append):
        model(states=torch.ones(1, 3, 4))
    assert "was not checked" in messages[0] and "no attention call was captured" in messages[0]


def test_bad_arguments() -> None:
    with pytest.raises(UsageError, match="every: expected at least 0"):
        ContractCallback(every=-1)
    with pytest.raises(UsageError, match="on_breach: expected one of stop, warn"):
        ContractCallback(on_breach="shout")


@pytest.mark.parametrize("wrapper", ["ddp", "fsdp2"])
def test_wrapped_models_of_one_process(tmp_path: Path, wrapper: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        model: Any = made("llama", "sdpa").train()
        if wrapper == "ddp":
            wrapped: Any = nn.parallel.DistributedDataParallel(model)
        else:
            from torch.distributed.fsdp import fully_shard

            for layer in model.model.layers:
                fully_shard(layer)
            wrapped = fully_shard(model)
        with ContractCallback(wrapped, write=lambda line: None) as watch:
            batch = packed("llama", use_cache=False)
            loss = wrapped(**batch, labels=batch["input_ids"]).loss
            loss.backward()
        assert [report.held for report in watch.reports] == [True]
        assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    finally:
        dist.destroy_process_group()
