"""Queries against earlier ones, beyond position."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.evaluation.stub import documents, stub_study

from heedful.evaluation.lagged import lagged_queries, with_detail
from heedful.evaluation.query_key_orientation import Orientation
from heedful.evaluation.result import Finding
from heedful.inference.verdict import Verdict


def evidence(**values: np.ndarray) -> object:
    class Evidence:
        layers = stub_study().observed.layers

        def stacked(self, name: str) -> np.ndarray:
            return values[name]

    return Evidence()


@pytest.mark.parametrize(("by_position", "verdict"), [(0.1, Verdict.PASS), (0.3, Verdict.ABSENT)])
@pytest.mark.parametrize("lag", ["adjacent", "distant"])
def test_what_counts_is_the_excess_over_position(lag: str, by_position: float, verdict: Verdict) -> None:
    aligned = Orientation(*(np.full(4, value) for value in (9.0, 0.001, 0.004)))
    own, position = documents([0.3] * 4, spread=0.001), np.full((20, 4), by_position)
    on_shuffled = evidence(**{lag: own + 0.01 * np.arange(20)[:, None], f"{lag}_by_position": position})
    study = stub_study(
        observed=evidence(**{lag: own, f"{lag}_by_position": position}),
        on_shuffled=on_shuffled,
        units=lambda x: x,
        first_units=lambda x: x,
        content_orientation=(aligned, ""),
    )
    overall, *heads = lagged_queries(study, f"{lag}_queries_differ", lag, "source")
    assert {f.verdict for f in (overall, *heads)} == {verdict}
    assert overall.estimate == pytest.approx(0.3 - by_position, abs=1e-3)
    assert overall.detail["divergence"] == pytest.approx(0.3)
    assert overall.detail["shuffled_tokens"] == pytest.approx(0.3 - by_position + 0.095)
    assert overall.detail["order_p"] < 0.05


def test_details_that_are_not_finite_are_none() -> None:
    finding = Finding(claim="c", verdict=Verdict.INFO, reason="r", detail={"kept": 1})
    assert with_detail(finding, a=math.nan, b=math.inf, c=2.0).detail == {"kept": 1, "a": None, "b": None, "c": 2.0}
