"""Statistics of fresh models."""

from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.checks.planted import AttentionOnly, random_ids
from tests.evaluation.material import batch_of

from heedful.evaluation.null_inputs import NoFreshModel, repeated
from heedful.evaluation.untrained import untrained_statistics


def test_every_statistic_has_a_row_a_model_and_a_column_a_head() -> None:
    batch = batch_of(random_ids(4, 32, vocabulary=64))
    again, ticks = repeated([batch], 4, seed=0), []
    found = untrained_statistics(AttentionOnly(), 3, [batch], again, 0, lambda: ticks.append(1))
    assert {"concentration", "log_contrast", "previous_mass", "same_token", "sink_mass", "induction_mass"} <= set(found)
    assert {value.shape for value in found.values()} == {(3, 4)}
    assert len(ticks) == 3
    assert (np.ptp(found["concentration"], axis=0) > 0).all()
    same = untrained_statistics(AttentionOnly(), 3, [batch], again, 0)
    np.testing.assert_array_equal(found["same_token"], same["same_token"])
    assert "induction_mass" not in untrained_statistics(AttentionOnly(), 1, [batch], None, 0)


def test_a_model_that_cannot_be_built_anew_is_told() -> None:
    model = AttentionOnly()
    model.slopes = model.norm.weight.__class__(model.norm.weight.detach().clone())
    with pytest.raises(NoFreshModel, match="slopes"):
        untrained_statistics(model, 1, [batch_of(random_ids(2, 16))], None, 0)
