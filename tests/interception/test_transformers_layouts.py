"""Layouts of transformers that were once measured wrongly while they were called verified."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars
import pytest
import torch
import transformers
from tests.interception.models import result_of
from torch import Tensor, nn

import heedful
from heedful.attention.registry import STATISTICS
from heedful.errors import CaptureError

SIDE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
BART: dict[str, Any] = {
    "vocab_size": 61,
    "d_model": 32,
    "max_position_embeddings": 64,
    "forced_eos_token_id": None,
    **{f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in (("layers", 1), ("ffn_dim", 48))},
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 59,
    "decoder_start_token_id": 1,
}


def sharp(model: nn.Module, by: float = 4.0) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(by)
    return model.eval()


def made(kind_of: Callable[[Any], nn.Module], config: Any, by: float = 4.0) -> Any:
    torch.manual_seed(3)
    return sharp(kind_of(config), by)


def tokens(*shape: int, seed: int = 4) -> Tensor:
    return torch.randint(2, 58, shape, generator=torch.Generator().manual_seed(seed))


def heads(model: nn.Module, run: Callable[[], Any]) -> polars.DataFrame:
    with torch.no_grad(), heedful.capture(model) as session:
        run()
    assert session.not_captured == {}
    return session.heads()


def of(frame: polars.DataFrame, part: str) -> polars.DataFrame:
    return frame.filter(frame["module"].str.contains(part)).select("verified", *sorted(STATISTICS))


def assert_alike(one: polars.DataFrame, other: polars.DataFrame, left_out: tuple[str, ...] = ("row_std_seed",)) -> None:
    assert one["verified"].all() and other["verified"].all() and len(one) == len(other) > 0
    for name in set(STATISTICS) - set(left_out):
        pair = [
            torch.tensor(frame[name].cast(polars.Float64).fill_null(float("nan")).to_list()) for frame in (one, other)
        ]
        torch.testing.assert_close(*pair, rtol=2e-4, atol=2e-5, equal_nan=True, msg=name)


def test_a_mask_of_text_is_none_of_a_picture() -> None:
    """A text of as many tokens as the picture has patches."""
    config = transformers.CLIPConfig(
        text_config={**SIDE, "vocab_size": 61, "max_position_embeddings": 64, "eos_token_id": 1, "pad_token_id": 0},
        vision_config={**SIDE, "image_size": 28, "patch_size": 4},
        projection_dim=16,
    )
    model, pixels, ids = made(transformers.CLIPModel, config), torch.randn(2, 3, 28, 28), tokens(2, 50)
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0
    one, other = (
        heads(model, lambda n=n: model(input_ids=ids[:, :n], attention_mask=mask[:, :n], pixel_values=pixels))
        for n in (50, 49)
    )
    assert_alike(of(one, "vision"), of(other, "vision"))


@pytest.mark.parametrize("length", [23, 24])
def test_cross_attention_has_no_diagonal(length: int) -> None:
    model = made(transformers.BartModel, transformers.BartConfig(**BART))
    frame = heads(model, lambda: model(input_ids=tokens(1, 24), decoder_input_ids=tokens(1, length, seed=5)))
    cross = of(frame, "encoder_attn")
    for name in ("self_mass", "previous_mass", "local_mass"):
        assert cross[name].is_null().all() and not of(frame, "decoder.*self_attn")[name].is_null().any()


def test_a_padded_source_and_a_padded_target() -> None:
    config = transformers.T5Config(
        vocab_size=61, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4, pad_token_id=0, decoder_start_token_id=0
    )
    model, ids, targets = made(transformers.T5Model, config), tokens(2, 40), tokens(2, 17, seed=5)
    mask, target_mask = torch.ones_like(ids), torch.ones_like(targets)
    mask[1, 12:], target_mask[1, 11:] = 0, 0

    def alone() -> None:
        model(input_ids=ids[:1], decoder_input_ids=targets[:1])
        model(input_ids=ids[1:, :12], decoder_input_ids=targets[1:, :11])

    padded = heads(
        model,
        lambda: model(
            input_ids=ids, attention_mask=mask, decoder_input_ids=targets, decoder_attention_mask=target_mask
        ),
    )
    assert_alike(of(padded, ""), of(heads(model, alone), ""))


def test_a_mask_of_the_source_is_none_of_the_decoder() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = made(transformers.BartModel, transformers.BartConfig(**BART))

        def forward(self, ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
            return self.model(input_ids=ids, attention_mask=attention_mask, decoder_input_ids=labels)[0]

    model, ids, labels = Wrapped(), tokens(2, 24), tokens(2, 24, seed=5)
    mask = torch.ones_like(ids)
    mask[1, 14:] = 0
    one = heads(model, lambda: model(ids, mask, labels))
    other = heads(model, lambda: model(ids, torch.ones_like(mask), labels))
    assert_alike(of(one, "decoder.*self_attn"), of(other, "decoder.*self_attn"))


def test_decoding_steps_are_rows_of_the_same_sequences() -> None:
    model = made(transformers.BartForConditionalGeneration, transformers.BartConfig(**BART), 8.0)
    ids, begun = tokens(2, 20), tokens(2, 10, seed=5)
    out: list[Tensor] = []
    frame = heads(
        model,
        lambda: out.append(
            model.generate(ids, decoder_input_ids=begun, max_new_tokens=6, min_new_tokens=6, do_sample=False)
        ),
    )
    assert frame["sequences"].unique().to_list() == [2]
    whole = heads(model, lambda: model(ids, decoder_input_ids=out[0][:, :-1]))
    assert_alike(of(frame, "encoder_attn"), of(whole, "encoder_attn"))


def test_a_softmax_that_is_not_understood_leaves_its_module_in_part() -> None:
    try:
        config = transformers.BigBirdConfig(
            **SIDE, vocab_size=61, max_position_embeddings=128, block_size=8, num_random_blocks=1
        )
    except Exception as error:
        if "use_cache" not in str(error.__cause__ or error):
            raise
        pytest.skip("this transformers refuses its own default of BigBirdConfig.use_cache")
    model, ids = made(transformers.BigBirdModel, config), tokens(2, 96)
    with torch.no_grad(), heedful.capture(model) as session:
        model(ids)
    path = "encoder.layer.0.attention.self"
    assert not session.heads()["verified"].any() and list(session.in_part) == list(session.not_captured) == [path]
    assert "captured in part, 64 of 192 rows" in session.in_part[path]
    (proof,) = heedful.verify(model, ids)
    assert not proof.recomputed and "captured in part" in proof.reason


@pytest.mark.parametrize("name", ["SwinModel", "Swinv2Model"])
def test_minus_one_hundred_hides(name: str) -> None:
    config = getattr(transformers, name).config_class(
        image_size=32, patch_size=4, embed_dim=16, depths=[2], num_heads=[2], window_size=4
    )
    model, pixels = (
        made(getattr(transformers, name), config, {"SwinModel": 4.0, "Swinv2Model": 1.0}[name]),
        torch.randn(2, 3, 32, 32),
    )
    frame = heads(model, lambda: model(pixels))
    model.set_attn_implementation("eager")
    weights = result_of(model, {"pixel_values": pixels}, output_attentions=True).attentions[-1].double()
    seen = (weights > 1e-30).sum(-1)  # exp(-100) is 4e-44
    rows = (seen.log() + torch.special.xlogy(weights, weights).sum(-1)).masked_fill(seen < 8, torch.nan)
    expected = rows.nanmean((0, 2))
    assert bool((seen < 16).any())
    shifted = torch.tensor(of(frame, "blocks.1")["concentration"].to_list()).double()
    torch.testing.assert_close(shifted, expected, rtol=1e-2, atol=5e-5)


def test_one_layer_index_is_one_module() -> None:
    """A picture a call: three calls of the vision module in one run."""
    config = transformers.Qwen2VLConfig(
        text_config={
            **SIDE,
            "vocab_size": 80,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 1,
        },
        vision_config={
            "depth": 1,
            "embed_dim": 32,
            "hidden_size": 32,
            "num_heads": 4,
            "patch_size": 4,
            "in_channels": 3,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
        image_token_id=70,
        vision_start_token_id=71,
        vision_end_token_id=72,
        video_token_id=73,
    )
    model, grid = made(transformers.Qwen2VLModel, config), torch.tensor([[1, 4, 4], [1, 4, 6], [1, 8, 4]])
    ids = torch.cat([torch.tensor([71] + [70] * n + [72]) for n in (4, 6, 8)])[None]
    inputs = {"input_ids": ids, "image_grid_thw": grid, "mm_token_type_ids": (ids == 70).int()}
    inputs["pixel_values"] = torch.randn(int(grid.prod(1).sum()), 96)
    frame = heads(model, lambda: model(**inputs))
    vision, text = "visual.blocks.0.attn", "language_model.layers.0.self_attn"
    assert frame["module"].unique(maintain_order=True).to_list() == [vision, text]
    assert frame.filter(frame["module"] == vision)["sequences"].unique().to_list() == [3]
    for layer, path in enumerate((vision, text)):
        with torch.no_grad(), heedful.capture(model, layers=[layer]) as session:
            model(**inputs)
        with torch.no_grad(), heedful.replace(model, "zero", layers=[layer]) as replaced:
            model(**inputs)
        assert list(session.records) == list(replaced) == [path]


def test_rows_of_few_keys_get_a_note() -> None:
    config = transformers.TimesformerConfig(**SIDE, image_size=16, patch_size=8, num_frames=4)
    model = made(transformers.TimesformerModel, config)
    with torch.no_grad(), heedful.capture(model) as session:
        model(pixel_values=torch.randn(2, 4, 3, 16, 16))
    assert session.heads()["row_entropy"].is_null().all()
    assert all("fewer than 8 keys" in session.notes[path] for path in session.records)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:flex_attention called")
def test_a_kernel_that_is_not_understood_is_named() -> None:
    config = transformers.LlamaConfig(**SIDE, vocab_size=61, num_key_value_heads=2, head_dim=16)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="flex_attention").eval()
    with torch.no_grad(), heedful.capture(model) as session:
        model(tokens(1, 24))
    with pytest.raises(CaptureError, match="flex_attention: an attention mask of type BlockMask is not understood"):
        session.heads()
