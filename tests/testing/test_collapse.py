from __future__ import annotations

import pytest
from tests.evaluation.checks.pattern_models import PatternModel, nothing, own_token
from tests.evaluation.checks.planted import random_ids

from heedful.errors import UsageError
from heedful.testing.collapse import assert_not_collapsed


def test_heads_that_choose_have_not_collapsed() -> None:
    found = assert_not_collapsed(PatternModel(own_token), random_ids(20, 32))
    assert (found.estimate, found.n) == (0.0, 20)


def test_uniform_heads_have_collapsed_and_are_named() -> None:
    message = r"does not hold: 2 of 2 heads are within 0.05 nats of uniform over 20 documents: L0H0, L0H1 \(1 share"
    with pytest.raises(AssertionError, match=message):
        assert_not_collapsed(PatternModel(nothing), random_ids(20, 32))


def test_the_share_decides() -> None:
    model = PatternModel(own_token, nothing)
    assert assert_not_collapsed(model, random_ids(20, 32), most=0.5).estimate == 0.5
    with pytest.raises(AssertionError, match=r"2 of 4 heads .*: L1H0, L1H1"):
        assert_not_collapsed(model, random_ids(20, 32), most=0.25)


@pytest.mark.parametrize(
    ("count", "length", "said"),
    [(6, 32, "insufficient data: 6 documents, at least 16 are needed"), (20, 7, "undefined: no row of this head sees")],
)
def test_too_little_text_does_not_pass(count: int, length: int, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        assert_not_collapsed(PatternModel(own_token), random_ids(count, length))


@pytest.mark.parametrize("options", [{"most": 1.0}, {"most": -0.1}, {"margin": 0.0}, {"margin": 0.6}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        assert_not_collapsed(PatternModel(own_token), random_ids(4, 32), **options)  # type: ignore[arg-type]
