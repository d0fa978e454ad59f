from __future__ import annotations

import pytest
from tests.evaluation.checks.pattern_models import PatternModel, nothing, own_token
from tests.evaluation.checks.planted import PlantedModel, alternating_ids, previous_token_heads, random_ids

from heedful.errors import UsageError
from heedful.loading.given_sequences import as_sequences
from heedful.testing.use import assert_attention_used


def test_a_model_that_reads_what_it_needs_uses_attention() -> None:
    model = PlantedModel(*previous_token_heads(2, 32))
    found = assert_attention_used(model, alternating_ids(20, 32))
    assert found.n == 20 and found.interval is not None and found.interval[0] > 0.01
    assert assert_attention_used(model, alternating_ids(20, 32), replacement="uniform").estimate != found.estimate


def test_attention_whose_output_is_lost_is_unused() -> None:
    model = PlantedModel(*previous_token_heads(2, 32), fault="unused")
    with pytest.raises(
        AssertionError, match=r"^attention is used: does not hold: attention's output removed: .* 20 units"
    ):
        assert_attention_used(model, alternating_ids(20, 32))


def test_a_uniform_head_does_nothing_that_equal_weights_do_not() -> None:
    with pytest.raises(AssertionError, match=r"equal weights on every visible key"):
        assert_attention_used(PatternModel(nothing), random_ids(20, 32), replacement="uniform")


def test_few_documents_are_insufficient_data_however_many_sequences_they_give() -> None:
    model = PlantedModel(*previous_token_heads(2, 32))
    with pytest.raises(AssertionError, match=r"insufficient data: .* rests on 8 units; at least 16 are needed"):
        assert_attention_used(model, alternating_ids(8, 32))
    cut = as_sequences(alternating_ids(32, 32), documents=[index // 4 for index in range(32)])
    with pytest.raises(AssertionError, match=r"insufficient data: .* rests on 8 units"):
        assert_attention_used(model, cut)
    assert assert_attention_used(model, cut, least_documents=8).n == 8
    with pytest.raises(AssertionError, match=r"insufficient data: 1 sequence"):
        assert_attention_used(model, alternating_ids(1, 32))


def test_a_model_without_a_loss_is_not_judged() -> None:
    with pytest.raises(AssertionError, match=r"attention is used: not judged: .*has no loss"):
        assert_attention_used(PatternModel(own_token, causal=False), random_ids(20, 32))


@pytest.mark.parametrize("options", [{"replacement": "nothing"}, {"margin": 0.0}])
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        assert_attention_used(PatternModel(own_token), random_ids(4, 32), **options)  # type: ignore[arg-type]
