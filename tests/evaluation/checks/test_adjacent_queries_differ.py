"""A query against the one 1 before, beyond what their positions account for."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.checks.pattern_models import PatternModel, induction_keys, judged
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids, uniform_heads
from torch import Tensor

from heedful.evaluation.checks.adjacent_queries_differ import adjacent_queries_differ
from heedful.inference.verdict import Verdict


def bag_of_words(ids: Tensor) -> Tensor:
    """A head that follows words whatever their order: a query likes keys as odd or even as itself."""
    return 3.0 * ((ids[:, :, None] % 2) == (ids[:, None, :] % 2))[:, None]


@pytest.mark.parametrize("pattern", [bag_of_words, induction_keys])
def test_a_head_that_follows_the_text_passes(pattern: object) -> None:
    overall, *heads = judged(adjacent_queries_differ, PatternModel(pattern), random_ids(24, 64), null_models=19)
    assert {f.verdict for f in (overall, *heads)} == {Verdict.PASS}
    assert overall.estimate is not None and 0.01 < overall.estimate < overall.detail["divergence"]


@pytest.mark.parametrize(
    "model",
    [PlantedModel(*previous_token_heads(2, 64)), PlantedModel(*uniform_heads(2, 64))],
    ids=["previous", "uniform"],
)
def test_rows_that_differ_by_position_alone_do_not(model: torch.nn.Module) -> None:
    overall, *heads = judged(adjacent_queries_differ, model, random_ids(24, 64))
    assert {f.verdict for f in (overall, *heads)} == {Verdict.ABSENT}
    assert overall.estimate == pytest.approx(0.0, abs=1e-5)


def test_the_order_of_the_text_is_told_beside() -> None:
    ids = random_ids(24, 64)
    turns = ids - ids % 2 + torch.arange(64) % 2
    assert judged(adjacent_queries_differ, PatternModel(bag_of_words), turns)[0].detail["order_p"] < 0.05


@pytest.mark.parametrize(
    ("count", "length", "verdict"),
    [(6, 64, Verdict.INSUFFICIENT), (24, 8, Verdict.UNDEFINED), (1, 64, Verdict.UNDEFINED)],
    ids=["few", "short", "one"],
)
def test_too_little_to_judge(count: int, length: int, verdict: Verdict) -> None:
    found = judged(adjacent_queries_differ, PatternModel(bag_of_words), random_ids(count, length))
    assert found[0].verdict is verdict
