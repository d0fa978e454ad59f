"""Does the attention of the trained model do its work? The fixture ``attention`` comes with heedful."""

import pytest
import torch
from tiny_gpt.model import TinyGPT, build
from tiny_gpt.train import alternating, train


@pytest.fixture(scope="session")
def model() -> TinyGPT:
    """The trained model."""
    return train()


@pytest.fixture(scope="session")
def batches() -> torch.Tensor:
    """24 documents of 32 bytes that training did not draw."""
    return alternating(24, 32, torch.Generator().manual_seed(7))


def test_attention_is_computed_correctly(attention, model, batches):
    """Exact claims: they hold for any text."""
    attention.causal(model, batches)
    attention.finite(model, batches)
    attention.rows_sum_to_one(model, batches)
    attention.capture_matches(model, batches)
    attention.gradients_reach(model, batches)


def test_the_model_needs_its_attention(attention, model, batches):
    """Without the output of attention the loss rises, by the whole interval over documents."""
    assert attention.used(model, batches).estimate > 0.5


def test_heads_choose_what_they_read(attention, model, batches):
    """At most half of the heads weigh all keys alike."""
    attention.not_collapsed(model, batches, most=0.5)


def test_an_untrained_model_is_told_apart(attention, batches):
    """What training gives is not there before it."""
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match="attention is used"):
        attention.used(build(), batches, margin=0.5)
