"""Probes applied to every call of a model."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.evaluation.checks.pattern_models import PatternModel, nothing, own_token
from tests.evaluation.checks.planted import random_ids
from tests.evaluation.material import batch_of, tiny_llama
from torch import Tensor, nn

from heedful.errors import CaptureError
from heedful.evaluation.evidence import ProbedCall, collect
from heedful.evaluation.probes import row_statistics


def first_token(probed: ProbedCall) -> dict[str, Tensor]:
    heads = probed.event.call.heads
    return {"first": probed.batch.input_ids[:, :1].expand(-1, heads).float()}


def two_batches(ids: Tensor, mask: Tensor | None = None) -> list:
    whole = batch_of(ids, mask)
    parts = [slice(4, 6), slice(0, 4)]
    return [type(whole)(*(getattr(whole, name)[p] for name in whole.__dataclass_fields__)) for p in parts]


def test_values_stand_in_the_order_in_which_batches_came() -> None:
    ids = random_ids(6, 16)
    ticks: list[int] = []
    evidence = collect(PatternModel(nothing, own_token), two_batches(ids), [first_token], tick=lambda: ticks.append(1))
    assert [layer.path for layer in evidence.layers] == ["layers.0", "layers.1"]
    assert [layer.layer for layer in evidence.layers] == [0, 1]
    assert evidence.stacked("first").shape == (6, 4)
    assert evidence.stacked("first")[:, 3].tolist() == ids[[4, 5, 0, 1, 2, 3], 0].tolist()
    assert evidence.has("first") and not evidence.has("second")
    assert len(ticks) == 2


def test_nothing_met_is_an_error_that_says_what_is_needed() -> None:
    with pytest.raises(CaptureError, match="no attention call was captured"):
        collect(nn.Embedding(24, 4), [batch_of(random_ids(2, 16))], [first_token])


def test_a_call_whose_batch_is_not_the_sequences_is_listed() -> None:
    class Folding(nn.Module):
        """Attends within windows folded into the batch, beside ordinary attention."""

        def __init__(self) -> None:
            super().__init__()
            self.whole, self.windows = PatternModel(nothing), nn.Embedding(24, 24)

        def forward(self, input_ids: Tensor) -> Tensor:
            x = self.windows(input_ids).view(-1, 1, 8, 24)
            return self.whole(input_ids) + F.scaled_dot_product_attention(x, x, x).view(*input_ids.shape, 24)

    evidence = collect(Folding(), [batch_of(random_ids(4, 16))], [first_token])
    assert [layer.path for layer in evidence.layers] == ["whole.layers.0"]
    assert evidence.not_captured == {"": "its batch of 8 is not one of 4 sequences"}


@pytest.mark.parametrize("build", [lambda: PatternModel(own_token), tiny_llama], ids=["plain module", "llama"])
def test_rows_of_padding_are_left_out_whether_or_not_the_model_knows_of_it(build: object) -> None:
    """The padded sequence gives what it gives alone, without its padding."""
    ids, mask = random_ids(2, 24), torch.ones(2, 24, dtype=torch.long)
    mask[1, 15:] = 0
    model = build()
    padded = collect(model, [batch_of(ids, mask)], [row_statistics]).stacked("concentration")
    alone = collect(model, [batch_of(ids[1:, :15])], [row_statistics]).stacked("concentration")
    assert padded[1].tolist() == pytest.approx(alone[0].tolist(), abs=1e-5)


def test_moments_are_computed_when_a_probe_asks_and_once() -> None:
    kept: list[ProbedCall] = []

    def keep(probed: ProbedCall) -> dict[str, Tensor]:
        kept.append(probed)
        assert "moments" not in probed.__dict__
        assert probed.moments is probed.moments
        return first_token(probed)

    collect(PatternModel(nothing), [batch_of(random_ids(2, 16))], [keep])
    assert len(kept) == 1
