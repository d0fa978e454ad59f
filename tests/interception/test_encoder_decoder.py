"""Models of an encoder and a decoder: whose padding it is that a forward is told of."""

from __future__ import annotations

import pytest
import transformers
from tests.interception.models import inputs_for, result_of

import heedful
from heedful.attention.registry import STATISTICS


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_of_the_encoder_empties_no_row_of_the_decoder(side: str) -> None:
    """Both are of one length; the decoder's first layer knows nothing of the encoder."""
    config = transformers.BartConfig(
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        vocab_size=61,
        max_position_embeddings=64,
    )
    model = transformers.BartModel(config).eval()
    inputs = inputs_for("bart", side)
    frames = []
    for mask in ({}, {"attention_mask": inputs["attention_mask"]}):
        ids = {"input_ids": inputs["input_ids"], "decoder_input_ids": inputs["input_ids"]}
        with heedful.capture(model) as session:
            result_of(model, {**ids, **mask})
        frame = session.heads()
        frames.append(frame.filter(frame["module"] == "decoder.layers.0.self_attn"))
    assert len(frames[0]) == 4 and frames[0].select(list(STATISTICS)).equals(frames[1].select(list(STATISTICS)))
