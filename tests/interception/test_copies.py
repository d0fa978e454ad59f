"""A model that is hooked into stays an ordinary model: copies have no hook of ours, tasks do not mix."""

from __future__ import annotations

import asyncio
import copy
import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from transformers import GPT2Config, GPT2LMHeadModel

import heedful
from heedful.monitoring.tracker.forward_recorder import ForwardRecorder
from heedful.monitoring.vectors.sample import Sample

IDS = torch.arange(8)[None]


@pytest.fixture
def model() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=50, n_positions=32)).eval()


def users_hook(_module: nn.Module, _args: Any) -> None:
    """A hook of the user's, which copies keep."""


def hooks(model: nn.Module) -> int:
    beside = ("_forward_hooks_with_kwargs", "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called")
    tables = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", *beside)
    return sum(len(vars(module)[table]) for module in model.modules() for table in tables)


@contextmanager
def tracked(model: nn.Module) -> Iterator[None]:
    recorder = ForwardRecorder(model, Sample(sequences=1, positions=8, logits=None), 0, True)
    try:
        yield
    finally:
        recorder.close()


def replaced(model: nn.Module) -> AbstractContextManager[Any]:
    return heedful.replace(model, "uniform", layers=[0])


def by_pickle(model: nn.Module) -> nn.Module:
    made: nn.Module = pickle.loads(pickle.dumps(model))
    return made


def by_save(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    made: nn.Module = torch.load(file, weights_only=False)
    return made


@pytest.mark.parametrize("copied", [copy.deepcopy, by_pickle, by_save, AveragedModel, copy.copy])
@pytest.mark.parametrize("held", [heedful.capture, tracked, replaced])
def test_copies_have_no_hook_of_ours(
    copied: Callable[[nn.Module], nn.Module], held: Callable[[nn.Module], Any], model: GPT2LMHeadModel
) -> None:
    model.transformer.register_forward_pre_hook(users_hook)
    expected, before, state = model(IDS).logits, hooks(model), vars(nn.Module).get("__getstate__")
    with held(model):
        model(IDS)
        made = copied(model)
        inner = made.module if isinstance(made, AveragedModel) else made
        own = hooks(inner) if copied is not copy.copy else before
    assert own == before == hooks(model)
    assert torch.equal(inner(IDS).logits, expected)
    assert vars(nn.Module).get("__getstate__") is state


class Logits(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.model(ids, use_cache=False).logits
        return logits


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "word", ["torch.export", "torch.jit.trace", "torch.func.vmap"]
)  # each runs, and what was not measured is named
def test_transforms_run_and_are_named(word: str, model: GPT2LMHeadModel) -> None:
    plain = Logits(model)
    runs: dict[str, Callable[[], Tensor]] = {
        "torch.export": lambda: torch.export.export(plain, (IDS,), strict=False).module()(IDS),
        "torch.jit.trace": lambda: torch.jit.trace(plain, IDS, check_trace=False)(IDS),
        "torch.func.vmap": lambda: torch.vmap(lambda ids: plain(ids[None])[0])(IDS),
    }
    expected = plain(IDS)
    with heedful.capture(model) as session:
        model(IDS)
        found = runs[word]()
    assert torch.allclose(found, expected, atol=1e-5)
    assert len(session.heads()) == 4 and any(word in subject for subject in (*session.notes, *session.not_captured))


def test_captures_of_two_tasks_do_not_mix(model: GPT2LMHeadModel) -> None:
    """Whatever the order in which tasks enter, run and leave: each sees the forwards of its own task alone."""
    other = copy.deepcopy(model)
    seen: dict[str, int] = {}

    async def watch(name: str, watched: nn.Module, lengths: list[int], last: int) -> None:
        with heedful.capture(watched) as session:
            for length in lengths:
                watched(IDS[:, :length])
                await asyncio.sleep(0)
        for _ in range(last):
            await asyncio.sleep(0)
        seen[name] = session.forwards

    async def both(first: nn.Module, second: nn.Module) -> None:
        await asyncio.gather(watch("one", first, [3, 4], 0), watch("two", second, [5, 6, 7, 8], 0))

    for second in (other, model):
        asyncio.run(both(model, second))
        assert seen == {"one": 2, "two": 4} and hooks(model) == hooks(second) == 0


def test_a_task_that_was_begun_inside_belongs_to_the_capture(model: GPT2LMHeadModel) -> None:
    async def run() -> int:
        with heedful.capture(model) as session:

            async def forward() -> None:
                model(IDS)

            await asyncio.gather(forward(), forward())
        return session.forwards

    assert asyncio.run(run()) == 2
