"""Compiled models: watched in their eager form, and the same compiled code afterwards."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.interception.models import inputs_for, nano, result_of, tiny
from torch._dynamo.utils import counters

from heedful.interception.replace import replace
from heedful.interception.session import capture
from heedful.interception.uncompiled import original, plain_path, uncompiled
from heedful.interception.verify import verify

PATHS = ["model.layers.0.self_attn", "model.layers.1.self_attn"]


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()
    counters.clear()


def in_place(model: Any) -> Any:
    model.compile(backend="eager")
    return model


def by_layer(model: Any) -> Any:
    for index, layer in enumerate(model.model.layers):
        model.model.layers[index] = torch.compile(layer, backend="eager", fullgraph=True)
    return model


COMPILED: dict[str, Callable[[Any], Any]] = {
    "plain": lambda model: torch.compile(model, backend="eager"),
    "whole graph": lambda model: torch.compile(model, backend="eager", fullgraph=True),
    "dynamic": lambda model: torch.compile(model, backend="eager", dynamic=True),
    "in place": in_place,
    "each layer": by_layer,
}


def graphs() -> int:
    return int(counters["stats"]["unique_graphs"])


@pytest.mark.parametrize("how", COMPILED)
def test_a_compiled_model_is_watched_and_stays_compiled(how: str) -> None:
    inputs = {"input_ids": inputs_for("llama")["input_ids"]}
    model = COMPILED[how](tiny("llama"))
    plain = result_of(model, inputs).logits
    compiled = graphs()
    assert compiled > 0
    with capture(model) as session:
        assert torch.equal(result_of(model, inputs).logits, plain)
    assert list(session.records) == PATHS and session.not_captured == {} and session.heads()["verified"].all()
    with replace(model, "zero", layers=[PATHS[1]]) as replaced:
        assert not torch.allclose(result_of(model, inputs).logits, plain, atol=1e-2)
    assert replaced == {PATHS[1]: 1}
    assert all(proof.recomputed and proof.replaced for proof in verify(model, inputs))
    assert torch.equal(result_of(model, inputs).logits, plain)
    assert graphs() == compiled, "watching a model must not compile anything, nor make it compile again"


def test_compiled_while_it_is_watched() -> None:
    model, ids = nano(), {"ids": torch.arange(20)[None]}
    plain = result_of(model, ids)
    with capture(model) as session:
        later = torch.compile(model, backend="eager", fullgraph=True)
        assert torch.equal(result_of(later, ids), plain)
    assert list(session.records) == ["blocks.0", "blocks.1"] and graphs() == 0
    result_of(later, ids)
    assert graphs() == 1


def test_watched_first_and_compiled_afterwards() -> None:
    model, ids = nano(), {"ids": torch.arange(20)[None]}
    with capture(model):
        plain = result_of(model, ids)
    assert torch.equal(result_of(torch.compile(model, backend="eager", fullgraph=True), ids), plain) and graphs() == 1


def stance() -> str:
    return str(sys.modules["torch._dynamo.eval_frame"]._stance.stance)  # type: ignore[attr-defined]


def test_the_stance_is_that_of_before_also_after_an_error() -> None:
    def fails() -> None:
        assert stance() == "force_eager"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), uncompiled(), uncompiled():
        fails()
    assert stance() == "default"
    with torch.compiler.set_stance("eager_on_recompile"):
        with uncompiled():
            assert stance() == "force_eager"
        assert stance() == "eager_on_recompile"


def test_threads_that_overlap_leave_the_stance_to_the_last() -> None:
    inside, leave = threading.Event(), threading.Event()

    def work() -> None:
        with uncompiled():
            inside.set()
            leave.wait(20)

    thread = threading.Thread(target=work)
    with uncompiled():
        thread.start()
        assert inside.wait(20)
    assert stance() == "force_eager"
    leave.set()
    thread.join(20)
    assert stance() == "default"


def test_names_of_compiled_modules() -> None:
    model = nano()
    wrapped: Any = torch.compile(model, backend="eager")
    assert original(wrapped) is model and original(model) is model
    assert plain_path("_orig_mod.blocks.0._orig_mod.c_attn") == "blocks.0.c_attn" and plain_path("_orig_mod") == ""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("fullgraph", [False, True])
def test_a_model_compiled_to_machine_code(fullgraph: bool) -> None:
    """The default backend: its output differs from the eager one by rounding, before and after the same."""
    model, inputs = tiny("llama"), {"input_ids": inputs_for("llama")["input_ids"]}
    compiled: Any = torch.compile(model, fullgraph=fullgraph)
    first = result_of(compiled, inputs).logits
    count = graphs()
    with capture(compiled) as session:
        assert torch.equal(result_of(compiled, inputs).logits, result_of(model, inputs).logits)
    assert list(session.records) == PATHS and session.heads()["verified"].all()
    assert torch.equal(result_of(compiled, inputs).logits, first) and graphs() == count
