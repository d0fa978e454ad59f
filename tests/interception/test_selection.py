"""Parts of a model, measured as in the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.cases import CASES
from tests.interception.models import inputs_for, result_of, tiny

from heedful.attention.engines.dense import dense
from heedful.attention.registry import STATISTICS
from heedful.errors import UsageError
from heedful.interception.selection import Selection, named_parts, only_heads
from heedful.interception.session import Session, capture


def session_of(name: str, runs: int = 1, **chosen: Any) -> Session:
    model, inputs = tiny(name), inputs_for(name, "left")
    plain = result_of(model, inputs)[0]
    with capture(model, **chosen) as session:
        for _ in range(runs):
            assert torch.equal(result_of(model, inputs)[0], plain)
    return session


@pytest.mark.parametrize(
    ("layers", "expected"), [([1], [1]), (["model.layers.0.self_attn"], [0]), ([0, "model.layers.1.self_attn"], [0, 1])]
)
def test_layers(layers: list[int | str], expected: list[int]) -> None:
    whole, part = session_of("llama").heads(), session_of("llama", layers=layers).heads()
    assert part.equals(whole.filter(whole["layer"].is_in(expected)))


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
@pytest.mark.parametrize("heads", [[2], [0, 3], [3, 1]])
def test_heads(name: str, heads: list[int]) -> None:
    whole, part = session_of(name).heads(), session_of(name, heads=heads).heads()
    assert part["head"].to_list() == heads * 2 and part["verified"].all()
    for row in part.iter_rows(named=True):
        other = whole.filter((whole["layer"] == row["layer"]) & (whole["head"] == row["head"])).row(0, named=True)
        assert row["label"] == other["label"]
        assert [row[name] for name in STATISTICS] == pytest.approx([other[name] for name in STATISTICS], rel=1e-5)


def test_heads_that_are_not_finite_keep_their_number() -> None:
    model = tiny("gpt2")
    with torch.no_grad():
        model.transformer.h[1].attn.c_attn.weight[0, 16:24] = float("nan")  # queries of head 2
    with capture(model, heads=[1, 2], layers=[1]) as session:
        result_of(model, inputs_for("gpt2"))
    assert session.heads()["row_entropy"].is_null().to_list() == [False, True]


@pytest.mark.parametrize(("every", "measured"), [(1, 5), (2, 3), (3, 2), (9, 1)])
def test_every_so_many_forwards(every: int, measured: int) -> None:
    frame = session_of("gpt2", runs=5, every=every).heads()
    assert frame["sequences"].unique().to_list() == [3 * measured]


def test_calls_of_a_shared_module() -> None:
    """One layer index is one module, however often it runs."""
    path = next(iter(session_of("albert").records))
    for layers in ([0], [path]):
        assert list(session_of("albert", layers=layers).records) == [path, f"{path}#2", f"{path}#3"]
    assert list(session_of("albert", layers=[f"{path}#2"]).records) == [f"{path}#2"]
    with pytest.raises(UsageError, match="no such layers"):
        session_of("albert", layers=[1])


def test_what_does_not_exist() -> None:
    with pytest.raises(UsageError, match=r"capture: no such layers: \[7\]; the model called 2: transformer\.h\.0"):
        session_of("gpt2", layers=[0, 7])
    with pytest.raises(UsageError, match=r"transformer\.h\.0\.attn has heads 0\.\.3, got \[4\]"):
        session_of("gpt2", heads=[4])
    with pytest.raises(UsageError, match="every: expected at least 1, got 0"):
        session_of("gpt2", every=0)
    with pytest.raises(UsageError, match="heads: expected at least one"):
        session_of("gpt2", heads=[])


def test_a_model_that_never_ran_called_no_layers() -> None:
    Selection(layers=[3]).check_layers({})


@pytest.mark.parametrize("case", CASES)
def test_heads_of_a_call(case: str) -> None:
    call = CASES[case]()
    chosen = [call.heads - 1, 0]
    whole, part = dense(call), dense(only_heads(call, chosen))
    torch.testing.assert_close(part.rows.entropy, whole.rows.entropy[:, chosen], equal_nan=True)
    if whole.output is not None:
        torch.testing.assert_close(part.output, whole.output[:, chosen], equal_nan=True)
    assert only_heads(call, range(call.heads)) is call


@pytest.mark.parametrize("given", [1, [1], (1,), range(1, 2), np.array([1]), torch.tensor(1), np.int64(1), {1}])
def test_one_layer_in_every_form(given: object) -> None:
    assert named_parts(given, None).layers == (1,)
    assert named_parts(None, given).heads == (1,)


def test_a_path_is_one_layer_and_not_its_letters() -> None:
    assert named_parts("model.layers.0", None).layers == ("model.layers.0",)


def test_heads_by_layer_name_the_layers_too() -> None:
    found = named_parts(None, {0: [2, 3], "b": 1})
    assert found.layers == (0, "b")
    assert (found.heads_of("a", 0), found.heads_of("b#2", 1)) == ((2, 3), (1,))


def test_nothing_named_is_everything() -> None:
    found = named_parts(None, None)
    assert found.layers is None and found.heads_of("a", 0) is None


@pytest.mark.parametrize(
    ("layers", "heads", "told"),
    [
        (1.5, None, "layers: expected an index, a module path, or a list of them; got 1.5"),
        (True, None, "got True"),
        ([], None, "expected at least one"),
        ([None], None, "got None"),
        (None, "3", "heads: expected an index"),
        (None, {}, "got {}"),
        (None, {0: []}, r"heads\[0\]: expected at least one"),
        (None, {0: "a"}, r"heads\[0\]: expected an index"),
        (None, {1.5: [0]}, "heads by layer"),
        (0, {0: [1]}, "leave layers out"),
    ],
)
def test_what_names_nothing_is_refused(layers: object, heads: object, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        named_parts(layers, heads)
