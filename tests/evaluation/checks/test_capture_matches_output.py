"""The recomputed output against the module's own."""

from __future__ import annotations

from tests.evaluation.checks.pattern_models import PatternModel, judged, own_token
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids
from torch import nn

from heedful.evaluation.checks.capture_matches_output import capture_matches_output
from heedful.inference.verdict import Verdict


def test_a_softmax_kernel_is_reproduced() -> None:
    (found,) = judged(capture_matches_output, PatternModel(own_token), random_ids(4, 32))
    assert found.verdict is Verdict.PASS


def test_a_kernel_that_does_something_else_is_told(misnormalised_llama: nn.Module) -> None:
    (found,) = judged(capture_matches_output, misnormalised_llama, random_ids(4, 32))
    assert found.verdict is Verdict.WARN
    assert found.estimate is not None and found.estimate > 0.05
    assert "their statistics describe the call, not the kernel" in found.reason


def test_outputs_that_are_not_finite_on_both_sides_agree() -> None:
    model = PlantedModel(*previous_token_heads(1, 32), fault="nan logits")
    (found,) = judged(capture_matches_output, model, random_ids(4, 32))
    assert found.verdict is Verdict.PASS
