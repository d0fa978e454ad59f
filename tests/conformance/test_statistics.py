"""Every registered statistic: one name everywhere, bounds, the undefined case, and which changes leave it as it is."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cases import CASES, LENGTH, UNSUPPORTED, attention_call, causal_mask, real_tokens
from tests.places import TESTS
from torch import Tensor

import heedful.attention.statistics
from heedful.attention.call import AttentionCall
from heedful.attention.engines.measure import ENGINES
from heedful.attention.engines.moments import RowMoments
from heedful.attention.engines.tiled import tiled
from heedful.attention.registry import STATISTICS
from heedful.attention.visibility import Visibility, bidirectional, causal, masked, padding
from heedful.interception.rules import split_mask

FOLDER = Path(heedful.attention.statistics.__file__).parent

NOT_PADDING_INVARIANT = {"row_std_seed"}
"""Counts masked zeros, so it is a function of the padded length: that is what is wrong with it."""

KEY_ORDER_INVARIANT = {"row_entropy", "concentration", "effective_keys", "visible_share", "max_weight"}
"""Statistics of how much, not of where: shuffling the keys of a bidirectional call leaves them as they are."""


def of(call: AttentionCall) -> dict[str, Tensor]:
    rows = tiled(call).rows
    return {name: facts.compute(rows) for name, facts in STATISTICS.items()}


def same(found: Tensor, expected: Tensor) -> bool:
    """Equal up to float32 summation order in other shapes: F10 asks for 1e-6."""
    return torch.allclose(found, expected, rtol=2e-6, atol=1e-6, equal_nan=True)


def test_file_function_key_and_test_are_one_name() -> None:
    files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    tests = {path.stem.removeprefix("test_") for path in (TESTS / "attention/statistics").glob("test_*.py")}
    assert files == set(STATISTICS) == tests
    assert list(STATISTICS) == sorted(STATISTICS)
    for name, facts in STATISTICS.items():
        module = importlib.import_module(f"heedful.attention.statistics.{name}")
        assert facts.name == facts.compute.__name__ == name
        assert getattr(module, name) is facts.compute


@pytest.mark.parametrize("name", STATISTICS)
def test_facts_are_complete(name: str) -> None:
    facts = STATISTICS[name]
    assert facts.unit and facts.bounds[0] < facts.bounds[1]
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|doi:10\.|for comparison only", facts.source)
    assert set(facts.needs) <= {field.name for field in fields(RowMoments)}
    text = inspect.getdoc(facts.compute) or ""
    for part in (".. math::", "Reading:", "Pitfall:", "Args:", "Returns:"):
        assert part in text, part
    assert "NaN" in text.split("Returns:")[1]


@pytest.mark.parametrize("name", STATISTICS)
def test_needs_are_all_that_is_read(name: str) -> None:
    """A statistic reads no moment that it does not declare."""
    source = inspect.getsource(STATISTICS[name].compute)
    read = set(re.findall(r"moments\.(\w+)", source.split('"""')[-1]))
    if "normalised_entropy" in read:
        read = (read - {"normalised_entropy"}) | {"entropy", "total"}
    assert read - {"visible", "n_keys"} <= set(STATISTICS[name].needs)


@pytest.mark.parametrize(
    ("engine", "case"), [(engine, case) for engine in ENGINES for case in CASES if case not in UNSUPPORTED[engine]]
)
def test_bounds_shape_and_the_undefined_case(engine: str, case: str) -> None:
    rows = ENGINES[engine](CASES[case](), None).rows
    for name, facts in STATISTICS.items():
        value = facts.compute(rows)
        assert value.shape == rows.visible.shape and value.dtype == rows.entropy.dtype, name
        assert value[rows.visible == 0].isnan().all(), name
        finite = value[value.isfinite()]
        assert not value.isinf().any(), name
        if len(finite):
            low, high = facts.bounds
            # A weight or a sum of weights may exceed 1 by its own rounding.
            assert finite.min() >= low and finite.max() <= high * (1 + 1e-6), name


def test_batched_is_looped() -> None:
    call = CASES["padded_both"]()
    whole = of(call)
    for b in range(call.batch):
        part = replace(
            call,
            **{name: getattr(call, name)[b : b + 1] for name in ("query", "key", "value")},
            visibility=call.visibility.part(slice(b, b + 1), slice(None)),
        )
        for name, value in of(part).items():
            assert same(value[0], whole[name][b]), name


def test_order_of_sequences() -> None:
    call = CASES["padded_both"]()
    order = torch.tensor([1, 0])
    moved = replace(
        call,
        **{name: getattr(call, name)[order] for name in ("query", "key", "value")},
        visibility=causal() & padding(real_tokens(left=(17, 3), right=(2, 5))),
    )
    whole = of(call)
    for name, value in of(moved).items():
        assert same(value, whole[name][order]), name


def test_order_of_heads() -> None:
    call = attention_call(sink=torch.tensor([-1.0, 0.0, 1.0, 2.0]))
    order = torch.tensor([2, 0, 3, 1])
    assert call.sink is not None
    moved = replace(
        call,
        sink=call.sink[order],
        **{name: getattr(call, name)[:, order] for name in ("query", "key", "value")},
    )
    whole = of(call)
    for name, value in of(moved).items():
        assert same(value, whole[name][:, order]), name


def padded_call(call: AttentionCall, left: int, right: int) -> AttentionCall:
    """The same sequences with positions of large garbage around them, hidden as padding."""

    def around(tensor: Tensor) -> Tensor:
        sides = [torch.full((*tensor.shape[:2], n, tensor.shape[3]), 50.0) for n in (left, right)]
        return torch.cat([sides[0], tensor, sides[1]], dim=2)

    mask = real_tokens((left,) * 2, (right,) * 2, LENGTH + left + right)
    tensors: dict[str, Any] = {name: around(getattr(call, name)) for name in ("query", "key", "value")}
    return replace(call, visibility=replace(call.visibility, **_rules(padding(mask))), **tensors)


def _rules(other: Visibility) -> dict[str, Any]:
    return {"keys": other.keys, "queries": other.queries}


@pytest.mark.fault
@pytest.mark.parametrize(("left", "right"), [(9, 0), (0, 9), (6, 20)])
@pytest.mark.parametrize("visibility", [causal(), bidirectional(), causal(window=11), bidirectional(window=6)])
def test_padding(visibility: Visibility, left: int, right: int) -> None:
    """F10: the same metrics as unpadded to 1e-6, padded rows NaN; the statistic of the padded length does change."""
    call = attention_call(visibility)
    alone, padded = of(call), of(padded_call(call, left, right))
    for name, value in padded.items():
        inside = value[:, :, left : left + LENGTH]
        assert same(inside, alone[name]) != (name in NOT_PADDING_INVARIANT), name
        outside = torch.cat([value[:, :, :left], value[:, :, left + LENGTH :]], dim=2)
        assert outside.isnan().all(), name


FORMS: dict[str, Callable[[], AttentionCall]] = {
    "rules": lambda: attention_call(causal() & padding(real_tokens(left=(0, 8)), queries=False)),
    "bool": lambda: attention_call(masked(_both())),
    "minus infinity": lambda: _additive(-torch.inf),
    "lowest float": lambda: _additive(torch.finfo(torch.float32).min),
    "-10000": lambda: _additive(-1e4),
}


def _both() -> Tensor:
    return causal_mask() & real_tokens(left=(0, 8)).bool()[:, None, None, :]


def _additive(hidden: float) -> AttentionCall:
    seen, bias = split_mask(torch.where(_both(), 0.0, hidden))
    return attention_call(masked(seen), bias=bias)


@pytest.mark.fault
@pytest.mark.parametrize("form", FORMS)
def test_form_of_the_mask(form: str) -> None:
    """F11: rules, bool, -inf and float-minimum masks are one thing."""
    expected = of(FORMS["rules"]())
    for name, value in of(FORMS[form]()).items():
        assert same(value, expected[name]), name


def test_form_of_a_window() -> None:
    distance = torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)
    for rules, seen in (
        (causal(window=6), (distance >= 0) & (distance < 6)),
        (bidirectional(window=4), distance.abs() < 4),
    ):
        expected = of(attention_call(rules))
        for name, value in of(attention_call(masked(seen))).items():
            assert same(value, expected[name]), name


def test_form_of_a_window_over_cached_keys() -> None:
    distance = torch.arange(3)[:, None] + LENGTH - 3 - torch.arange(LENGTH)
    rules = attention_call(causal(window=8), queries=3, keys=LENGTH)
    by_mask = attention_call(
        replace(masked((distance >= 0) & (distance < 8)), offset=LENGTH - 3), queries=3, keys=LENGTH
    )
    expected = of(rules)
    for name, value in of(by_mask).items():
        assert same(value, expected[name]), name


def test_order_of_keys_matters_to_statistics_of_place_alone() -> None:
    call = attention_call(bidirectional())
    order = torch.randperm(LENGTH)
    assert call.value is not None
    moved = replace(call, key=call.key[:, :, order], value=call.value[:, :, order])
    expected = of(call)
    for name, value in of(moved).items():
        assert same(value, expected[name]) == (name in KEY_ORDER_INVARIANT), name


def test_a_shift_of_all_logits_of_a_row_changes_nothing() -> None:
    call = attention_call()
    shifted = replace(call, bias=torch.randn(1, 4, LENGTH, 1))
    expected = of(call)
    for name, value in of(shifted).items():
        assert torch.allclose(value, expected[name], rtol=1e-5, atol=1e-5, equal_nan=True), name
