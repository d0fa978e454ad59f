"""The same position in different documents."""

from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.checks.pattern_models import PatternModel, first_key, judged, own_token, study_of
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids, uniform_heads
from torch import nn

from heedful.evaluation.checks.queries_attend_by_content import queries_attend_by_content
from heedful.inference.verdict import Verdict


def test_a_head_of_token_identity_passes() -> None:
    overall, *heads = judged(queries_attend_by_content, PatternModel(own_token), random_ids(24, 64), null_models=19)
    assert {f.verdict for f in (overall, *heads)} == {Verdict.PASS}
    assert overall.p_adjusted is not None and overall.p_adjusted <= 0.05


@pytest.mark.parametrize(
    "model",
    [PlantedModel(*previous_token_heads(2, 64)), PlantedModel(*uniform_heads(2, 64)), PatternModel(first_key)],
    ids=["previous", "uniform", "sink"],
)
def test_any_pattern_of_position_alone_is_zero(model: nn.Module) -> None:
    overall, *heads = judged(queries_attend_by_content, model, random_ids(24, 64))
    assert {f.verdict for f in (overall, *heads)} == {Verdict.ABSENT}
    assert overall.estimate == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("count", "length", "verdict"),
    [(6, 64, Verdict.INSUFFICIENT), (24, 8, Verdict.UNDEFINED), (1, 64, Verdict.UNDEFINED)],
    ids=["few", "short", "one"],
)
def test_too_little_to_judge(count: int, length: int, verdict: Verdict) -> None:
    assert judged(queries_attend_by_content, PatternModel(own_token), random_ids(count, length))[0].verdict is verdict


def test_the_interval_allows_for_documents_that_stand_in_two_pairs() -> None:
    """Values of pairs that share a document vary together: the interval is twice as wide as if they did not."""
    study = study_of(PatternModel(own_token), random_ids(24, 64))
    found = queries_attend_by_content(study)[1]
    alone = study.observed.stacked("other_document")[:, 0]
    assert found.interval is not None
    width = found.interval[1] - found.interval[0]
    assert width > 1.8 * 2 * 1.96 * alone.std(ddof=1) / np.sqrt(24)
