"""Row sums of the module's own kernel."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.evaluation.checks.pattern_models import PatternModel, judged, nothing
from tests.evaluation.checks.planted import PlantedModel, previous_token_heads, random_ids
from torch import nn

from heedful.evaluation.checks.rows_sum_to_one import rows_sum_to_one, tolerance
from heedful.inference.verdict import Verdict


class Dropping(nn.Module):
    """A kernel that drops weights in evaluation mode too: it cannot be asked for its row sums."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 24)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(input_ids)[:, None]
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.1, is_causal=True)[:, 0]


def test_a_sound_kernel_passes() -> None:
    found = judged(rows_sum_to_one, PatternModel(nothing), random_ids(4, 32))
    assert [f.verdict for f in found] == [Verdict.PASS]
    assert found[0].estimate is not None and found[0].estimate < 1e-5
    assert "1 of 1 layers" in found[0].reason


def test_rows_that_sum_to_more_fail_and_their_layers_are_named(misnormalised_llama: nn.Module) -> None:
    (found,) = judged(rows_sum_to_one, misnormalised_llama, random_ids(4, 32))
    assert found.verdict is Verdict.FAIL
    assert found.estimate == pytest.approx(0.1, abs=1e-4)
    assert found.detail["layers"] == ["model.layers.0.self_attn", "model.layers.1.self_attn"]


def test_a_kernel_that_drops_weights_cannot_be_asked() -> None:
    assert judged(rows_sum_to_one, Dropping(), random_ids(4, 32))[0].verdict is Verdict.SKIP


def test_no_finite_row_is_no_evidence() -> None:
    model = PlantedModel(*previous_token_heads(1, 32), fault="nan logits")
    assert judged(rows_sum_to_one, model, random_ids(4, 32))[0].verdict is Verdict.UNDEFINED


@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float32, 1e-5), (torch.float16, 4 * 2**-11), (torch.bfloat16, 4 * 2**-8)]
)
def test_the_tolerance_is_four_unit_roundoffs(dtype: torch.dtype, limit: float) -> None:
    assert tolerance(dtype) == pytest.approx(limit)
