"""Losses against transformers' own."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.checks.planted import PlantedModel, random_ids, uniform_heads
from tests.evaluation.material import batch_of, tiny_bert, tiny_gpt2
from torch import nn

from heedful.evaluation.objective import Objective, find_objective

IDS = random_ids(3, 20)
MASK = torch.tensor([[1] * 20, [1] * 12 + [0] * 8, [1] + [0] * 19])


def found_for(
    model: nn.Module, *, causal: bool = True, mask_token: int | None = None, vocabulary: int = 24
) -> Objective:
    return find_objective(
        model, batch_of(IDS), hides_future=causal, mask_token=mask_token, vocabulary=vocabulary, seed=0
    )


def test_next_token_loss_is_transformers_own() -> None:
    model, objective = tiny_gpt2(), Objective("next token")
    with torch.no_grad():
        whole = objective.losses(model, batch_of(IDS))
        assert float(whole.mean()) == pytest.approx(float(model(input_ids=IDS, labels=IDS).loss), abs=1e-5)
        padded = objective.losses(model, batch_of(IDS, MASK))
        alone = model(input_ids=IDS[1:2, :12], labels=IDS[1:2, :12]).loss
    assert float(padded[1]) == pytest.approx(float(alone), abs=1e-5)
    assert padded[2].isnan()


def test_what_stands_at_padding_does_not_reach_the_loss() -> None:
    class Broken(nn.Module):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(*input_ids.shape, 24)
            logits[1, 12:] = float("nan")
            return logits

    losses = Objective("next token").losses(Broken(), batch_of(IDS, MASK))
    assert losses[:2].tolist() == pytest.approx([torch.tensor(24.0).log().item()] * 2)


def test_masked_token_loss_is_transformers_own_on_the_hidden_tokens() -> None:
    model, objective = tiny_bert(), found_for(tiny_bert(), causal=False, mask_token=3)
    assert objective.name == "masked token"
    special = torch.zeros_like(IDS, dtype=torch.bool)
    special[:, 0] = True
    batch = batch_of(IDS, torch.cat([MASK[:2], MASK[:1]]), special)
    ids, counted, targets = objective.question(batch)
    hidden = counted.bool()
    assert 0 < hidden.sum() < 0.4 * hidden.numel()
    assert not (hidden & (special | (batch.attention_mask == 0))).any()
    assert (ids[hidden] == 3).all() and torch.equal(ids[~hidden], IDS[~hidden])
    with torch.no_grad():
        losses = objective.losses(model, batch)
        for row in range(3):
            labels = targets[row : row + 1].masked_fill(~hidden[row : row + 1], -100)
            own = model(ids[row : row + 1], attention_mask=batch.attention_mask[row : row + 1], labels=labels).loss
            assert float(losses[row]) == pytest.approx(float(own), abs=1e-5, nan_ok=True)
    assert torch.equal(objective.question(batch)[0], ids)


def test_gradients_flow_where_they_are_wanted() -> None:
    assert Objective("next token").losses(tiny_gpt2(), batch_of(IDS)).requires_grad


@pytest.mark.parametrize(
    ("model", "causal", "vocabulary", "reason"),
    [
        ("headless", True, 24, "returns no logits"),
        ("causal", True, 25, "returns no logits"),
        ("causal", False, 24, "no mask token"),
        ("pooled", True, 24, "returns no logits"),
        ("width", True, 24, "no language-model head (it returns hidden states of width 32)"),
        ("wide", False, 24, "no language-model head (it returns hidden states of width 40)"),
    ],
)
def test_no_loss_has_its_reason(model: str, causal: bool, vocabulary: int, reason: str) -> None:
    class WidthModel(nn.Module):
        config = type("Config", (), {"hidden_size": 32})

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*input_ids.shape, 32)

    class Pooled(nn.Module):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(input_ids), 24)

    models = {
        "headless": lambda: tiny_gpt2().transformer,
        "causal": lambda: PlantedModel(*uniform_heads(2, 20)),
        "pooled": Pooled,
        "width": WidthModel,
        "wide": lambda: nn.Embedding(24, 40),
    }
    objective = found_for(models[model](), causal=causal, vocabulary=vocabulary)
    assert objective.name == "none"
    assert reason in objective.reason
    assert "let it return logits (batch, token, vocabulary)" in objective.reason or "--tokenizer" in objective.reason


def test_a_model_that_returns_no_logits_has_no_loss() -> None:
    assert Objective("next token").losses(tiny_gpt2().transformer, batch_of(IDS)).isnan().all()


def test_hidden_states_of_a_model_without_config_are_no_logits() -> None:
    """As wide as the embedding and as no vocabulary; where both widths are one, logits are taken to be meant."""

    class Own(nn.Module):
        def __init__(self, rows: int) -> None:
            super().__init__()
            self.embedding = nn.Embedding(rows, 32)

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return self.embedding(input_ids)

    assert "no language-model head" in found_for(Own(24)).reason
    assert found_for(Own(32)).name == "next token"
