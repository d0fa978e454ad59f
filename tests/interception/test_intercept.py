"""What an interception leaves behind: nothing, whatever happened inside it."""

from __future__ import annotations

import asyncio
import copy
import gc
import io
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from tests.interception.models import inputs_for, nano, result_of, tiny
from tests.interception.state import snapshot
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from transformers import GPT2Config, GPT2LMHeadModel

import heedful
from heedful.errors import UsageError
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept
from heedful.interception.replace import replace
from heedful.interception.session import capture
from heedful.monitoring.tracker.forward_sums import ForwardRecorder
from heedful.monitoring.vectors.vectors import Sample

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


def _skip_where_nothing_is_traced(model: nn.Module) -> None:
    """Some transformers before 5.10 cannot be traced, captured or not."""
    try:
        torch.jit.trace(model, IDS, check_trace=False)
    except IndexError:
        pytest.skip("this transformers cannot be traced by torch.jit")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "word", ["torch.export", "torch.jit.trace", "torch.func.vmap"]
)  # each runs, and what was not measured is named
def test_transforms_run_and_are_named(word: str, model: GPT2LMHeadModel) -> None:
    plain = Logits(model)
    if word == "torch.jit.trace":
        _skip_where_nothing_is_traced(plain)
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


def plain_inputs(length: int = 20) -> dict[str, Tensor]:
    return {"ids": torch.arange(length)[None] % 61}


pytestmark = pytest.mark.fault  # F21 to F23

SUBJECTS = [("gpt2", lambda: (tiny("gpt2"), inputs_for("gpt2"))), ("nano", lambda: (nano(), plain_inputs()))]
WAYS_IN = {"capture": lambda model: capture(model), "replace": lambda model: replace(model, "uniform")}


@pytest.mark.parametrize("way_in", WAYS_IN)
@pytest.mark.parametrize("build", [pytest.param(build, id=name) for name, build in SUBJECTS])
def test_nothing_is_left_after_a_normal_exit(build: Any, way_in: str) -> None:
    model, inputs = build()
    list(model.modules())[2].train()
    next(model.parameters()).requires_grad_(False)
    before = snapshot(model)
    with WAYS_IN[way_in](model):
        result_of(model, inputs)
    assert snapshot(model) == before


class Broken(nn.Module):
    """A module whose forward raises what it was given."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("way_in", WAYS_IN)
def test_nothing_is_left_after_an_error_in_forward(error: BaseException, way_in: str) -> None:
    model = tiny("gpt2")
    model.transformer.h[1].mlp = Broken(error)
    before = snapshot(model)
    with pytest.raises(type(error)), WAYS_IN[way_in](model):
        result_of(model, inputs_for("gpt2"))
    assert snapshot(model) == before


def test_nothing_is_left_after_an_error_in_the_answer() -> None:
    model = tiny("gpt2")
    before = snapshot(model)

    def refuse(event: AttentionEvent) -> Tensor | None:
        raise ZeroDivisionError(event.path)

    with pytest.raises(ZeroDivisionError, match=r"transformer\.h\.0\.attn"), intercept(model, refuse):
        result_of(model, inputs_for("gpt2"))
    assert snapshot(model) == before


def test_an_interrupt_that_the_user_survives_spoils_no_later_record() -> None:
    model, inputs = tiny("gpt2"), inputs_for("gpt2", "left")
    with capture(model) as undisturbed:
        result_of(model, inputs)
    good = model.transformer.h[1].mlp
    with capture(model) as session:
        model.transformer.h[1].mlp = Broken(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            result_of(model, {"input_ids": inputs["input_ids"]})  # no padding: its frames must not stay
        model.transformer.h[1].mlp = good
        session.records.clear()
        result_of(model, inputs)
    assert list(session.records) == list(undisturbed.records)
    for path, record in session.records.items():
        assert record.empty_rows == undisturbed.records[path].empty_rows > 0


def test_the_users_own_hooks_fire_once_and_stay() -> None:
    model, inputs = tiny("gpt2"), inputs_for("gpt2")
    fired: list[str] = []
    attention = model.transformer.h[0].attn
    attention.register_forward_hook(lambda *_: fired.append("after"))
    attention.register_forward_pre_hook(lambda *_: fired.append("before"))
    before = snapshot(model)
    with capture(model):
        result_of(model, inputs)
        assert fired == ["before", "after"]
    assert snapshot(model) == before
    result_of(model, inputs)
    assert fired == ["before", "after"] * 2


def test_a_hook_that_the_user_adds_meanwhile_stays() -> None:
    model = tiny("gpt2")
    fired = []
    with capture(model):
        model.transformer.h[0].register_forward_hook(lambda *_: fired.append(1))
    result_of(model, inputs_for("gpt2"))
    assert fired == [1] and len(model.transformer.h[0]._forward_hooks) == 1


def test_nested_captures_see_each_their_own_data() -> None:
    model, first, second = tiny("gpt2"), inputs_for("gpt2", batch=3), inputs_for("gpt2", batch=1, length=12)
    before = snapshot(model)
    with capture(model) as outer:
        result_of(model, first)
        with capture(model) as inner:
            result_of(model, second)
        result_of(model, first)
    assert snapshot(model) == before
    assert outer.heads()["sequences"].unique().to_list() == [7]
    assert inner.heads()["sequences"].unique().to_list() == [1]
    with capture(model) as alone:
        result_of(model, second)
    assert inner.heads().equals(alone.heads())


@pytest.mark.parametrize("inner", ["head_rows", "validate", "verify"])
def test_what_heedful_runs_itself_is_not_counted_by_a_capture_around_it(inner: str) -> None:
    from tests.evaluation.checks.planted import random_ids, sequences_of

    from heedful.evaluation.nine_sections import head_rows, validate
    from heedful.evaluation.settings import Settings
    from heedful.interception.verify import verify

    model, inputs = tiny("llama"), inputs_for("llama")
    settings, text = Settings(preset="quick", null_models=0, resamples=99), sequences_of(random_ids(4, 24))
    own: dict[str, Any] = {
        "head_rows": lambda: head_rows(model, text, settings=settings),
        "validate": lambda: validate(model, text, settings=settings),
        "verify": lambda: verify(model, inputs),
    }
    with capture(model) as alone:
        result_of(model, inputs)
    with capture(model) as session:
        own[inner]()
        result_of(model, inputs)
        own[inner]()
    assert session.heads().equals(alone.heads()) and len(session.heads()) == 8


def test_a_replacement_around_a_validation_stays() -> None:
    """Judging a model with a part of it taken away is what the user asked for."""
    from heedful.interception.verify import verify

    model, inputs = tiny("llama"), inputs_for("llama")
    with replace(model, "zero", layers=[0]):
        proofs = verify(model, inputs)
    assert [proof.recomputed for proof in proofs] == [False, True]


def test_two_threads_on_two_models() -> None:
    """Each interception takes its own wrappers off the process-wide table, in whatever order they end."""
    models = [tiny("gpt2"), tiny("llama")]
    before = snapshot(models[0])["table"]
    inside, leave = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]
    found: list[int] = [0, 0]

    def work(index: int) -> None:
        with capture(models[index]) as session:
            inside[index].set()
            leave[index].wait(20)
            result_of(models[index], inputs_for("gpt2"))
            found[index] = len(session.records)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for index, thread in enumerate(threads):
        thread.start()
        assert inside[index].wait(20)
    for index, thread in enumerate(threads):  # the first that came leaves first
        leave[index].set()
        thread.join(20)
    assert found == [2, 2]
    assert snapshot(models[0])["table"] == before


@pytest.mark.parametrize("names", [("gpt2", "llama"), ("llama", "llama")])
def test_two_threads_in_the_middle_of_their_forwards(names: tuple[str, str]) -> None:
    """Each waits for the other between its two layers, so that both are inside a forward at once."""
    models = [tiny(name) for name in names]
    inputs = [inputs_for("gpt2", batch=2), inputs_for("gpt2", "left", batch=3, length=20)]
    expected = []
    for model, given in zip(models, inputs, strict=True):
        with capture(model) as alone:
            for _ in range(3):
                result_of(model, given)
        expected.append(alone.heads())
    together = threading.Barrier(2, timeout=20)
    found: list[Any] = [None, None]
    for model in models:
        layer = model.model.layers[1] if hasattr(model, "model") else model.transformer.h[1]
        layer.register_forward_pre_hook(lambda *_: (together.wait(), None)[1])

    def work(index: int) -> None:
        with capture(models[index]) as session:
            for _ in range(3):
                result_of(models[index], inputs[index])
        found[index] = session.heads()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for ours, alone_ in zip(found, expected, strict=True):
        assert ours is not None and ours.equals(alone_)


def test_a_second_thread_is_refused() -> None:
    model = tiny("gpt2")
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with capture(model):
                pass
        except UsageError as error:
            errors.append(error)

    with capture(model):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(20)
    assert len(errors) == 1 and "another thread is capturing this model" in str(errors[0])
    work()
    assert len(errors) == 1


def test_a_thread_that_only_runs_the_model_leaves_no_data() -> None:
    model, mine, theirs = tiny("gpt2"), inputs_for("gpt2", batch=2), inputs_for("gpt2", "left", batch=3)
    with capture(model) as alone:
        result_of(model, mine)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            result_of(model, theirs)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        with capture(model) as session:
            for _ in range(10):
                result_of(model, mine)
    finally:
        stop.set()
        thread.join(20)
    assert list(session.records) == list(alone.records)
    frame, expected = session.heads(), alone.heads()
    assert frame["sequences"].unique().to_list() == [20]
    for name in ("row_entropy", "self_mass"):
        torch.testing.assert_close(torch.tensor(frame[name].to_list()), torch.tensor(expected[name].to_list()))


def test_a_model_can_be_collected_afterwards() -> None:
    model = nano()
    with capture(model) as session:
        result_of(model, plain_inputs())
    gone = weakref.ref(model)
    del model, session
    gc.collect()
    assert gone() is None


def test_an_event_says_where_it_comes_from() -> None:
    model, inputs = tiny("llama"), inputs_for("llama")
    events: list[AttentionEvent] = []

    def keep(event: AttentionEvent) -> Tensor | None:
        events.append(event)
        return None

    with intercept(model, keep):
        result_of(model, inputs)
    assert [event.path for event in events] == ["model.layers.0.self_attn", "model.layers.1.self_attn"]
    first = events[0]
    assert first.module is model.model.layers[0].self_attn and first.dropout == 0
    assert first.entering is not None and first.entering.shape == (3, 24, 32)
    assert first.call.value is not None
    torch.testing.assert_close(first.run(2 * first.call.value), 2 * first.run(None))
