"""transformers models through their attention table: outputs unchanged, statistics of their own weights, no trace."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from tests.interception.models import CAUSAL, MET, SETTINGS, inputs_for, result_of, tensors_of, tiny, twin
from tests.oracles.attention_statistics import head_statistics
from torch import nn

from heedful.attention.registry import STATISTICS
from heedful.errors import HeedfulError
from heedful.interception.interceptors.huggingface import _eager_of
from heedful.interception.session import Session, capture
from heedful.training.model.language_head import CACHE

TABLE = transformers.modeling_utils.AttentionInterface._global_mapping
LAYERS = dict.fromkeys(MET, 2) | {"albert": 3}


def captured(model: nn.Module, inputs: dict[str, Any], **options: Any) -> tuple[Any, Session]:
    with capture(model) as session:
        output = result_of(model, inputs, **options)
    return output, session


def assert_statistics_are_those_of(session: Session, attentions: tuple[torch.Tensor, ...], real: Any) -> None:
    frame = session.heads()
    modules = frame["module"].unique(maintain_order=True).to_list()
    for module, weights in zip(modules, attentions, strict=True):
        expected = head_statistics(weights, real)
        assert set(expected) == set(STATISTICS)
        mine = frame.filter(frame["module"] == module)
        for name, value in expected.items():
            found = torch.tensor(mine[name].to_list(), dtype=torch.float64)
            # float32 on both sides, averaged over rows: a few roundings of numbers of order 1 to 24.
            torch.testing.assert_close(found, value, rtol=2e-5, atol=2e-5)


PADDED = [
    (name, implementation, padding)
    for name, implementation in SETTINGS
    for padding in ("none", "left", "right")
    if name != "vit" or padding == "none"
]


@pytest.mark.parametrize(("name", "implementation", "padding"), PADDED)
def test_outputs_are_bit_equal_and_statistics_those_of_the_weights(
    name: str, implementation: str, padding: str
) -> None:
    model, inputs = tiny(name, implementation), inputs_for(name, padding)
    plain = result_of(model, inputs)
    output, session = captured(model, inputs)
    for before, after in zip(tensors_of(plain), tensors_of(output), strict=True):
        assert torch.equal(before, after)
    weights = result_of(twin(model, name), inputs, output_attentions=True).attentions
    assert len(weights) == LAYERS[name]
    real = inputs["attention_mask"].bool() if "attention_mask" in inputs else None
    assert_statistics_are_those_of(session, weights, real)
    assert session.heads()["verified"].all() and session.not_captured == {}
    padded = 0 if real is None else int((~real).sum())
    for record in session.records.values():
        assert record.empty_rows == padded * record.heads
        assert record.error < 1e-5


@pytest.mark.parametrize("name", MET)
def test_returned_attentions_are_those_without_capture(name: str) -> None:
    model, inputs = tiny(name, "eager"), inputs_for(name)
    plain = result_of(model, inputs, output_attentions=True)
    output, _ = captured(model, inputs, output_attentions=True)
    assert len(output.attentions) == LAYERS[name]
    for before, after in zip(plain.attentions, output.attentions, strict=True):
        assert torch.equal(before, after)


@pytest.mark.fault
@pytest.mark.parametrize("name", ["gpt2", "llama", "bert"])
def test_values_do_not_depend_on_the_form_of_the_mask(name: str) -> None:
    """F11: bool masks (sdpa), float-minimum masks (eager) and no mask at all with the causal flag."""
    inputs = inputs_for(name)
    frames = [captured(tiny(name, way), inputs)[1].heads() for way in ("sdpa", "eager")]
    without = {key: value for key, value in inputs.items() if key != "attention_mask"}
    frames.append(captured(tiny(name, "sdpa"), without)[1].heads())
    for statistic in STATISTICS:
        first, *others = (torch.tensor(frame[statistic].to_list()) for frame in frames)
        for other in others:
            torch.testing.assert_close(other, first, rtol=1e-6, atol=1e-6)


@pytest.mark.fault
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "bert"])
def test_padding_changes_no_statistic_of_a_sequence(name: str, side: str) -> None:
    """F10: a padded sequence, its positions derived from the mask, has the statistics it has alone."""
    model, inputs = tiny(name), inputs_for(name, side)
    real = inputs["attention_mask"].bool()
    positions = (real.cumsum(1) - 1).clamp_min(0)
    _, padded = captured(model, {**inputs, "position_ids": positions})
    for row in range(3):
        _, alone = captured(model, {"input_ids": inputs["input_ids"][row, real[row]][None]})
        for path, record in padded.records.items():
            for statistic in set(STATISTICS) - {"row_std_seed"}:  # which counts masked zeros by its definition
                found, expected = (torch.cat(r.values[statistic]) for r in (record, alone.records[path]))
                # The float32 kernel's own matrices differ in shape, so in the last bits: F10 asks for 1e-6.
                torch.testing.assert_close(found[row], expected[0], rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", CAUSAL)
def test_generation_with_a_cache_records_each_decoded_row(name: str) -> None:
    model = tiny(name, "eager")
    ids = inputs_for(name, batch=2)["input_ids"]
    with capture(model) as session:
        result_of(model.generate, {"inputs": ids}, max_new_tokens=4, do_sample=False)  # type: ignore[attr-defined]
    assert len(session.records) == 2
    for record in session.records.values():
        # The prompt's rows that see eight keys or more, then three single rows, for two sequences.
        window = {"mistral": 9, "gemma2": 10, "gpt_oss": 10}.get(name, 99)
        assert window >= 8 and record.rows == 2 * record.heads * (24 - 7 + 3)
        assert record.verified and len(record.values["row_entropy"]) == 1
    assert session.heads()["sequences"].unique().to_list() == [2]


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral"])
def test_generated_sequences_weigh_as_whole_ones(name: str, cache: str) -> None:
    """A generation's rows, one by one from a cache with empty slots or without, against one forward over its tokens."""
    model, ids = tiny(name), inputs_for(name, batch=2)["input_ids"]
    with torch.no_grad(), capture(model) as session:
        made = model.generate(ids, max_new_tokens=6, do_sample=False, cache_implementation=cache)
    with capture(model) as whole:
        result_of(model, {"input_ids": made[:, :-1]})  # the last token was never fed back
    found, expected = session.heads(), whole.heads()
    assert found["sequences"].to_list() == expected["sequences"].to_list() and found["verified"].all()
    for record, other in zip(session.records.values(), whole.records.values(), strict=True):
        assert (record.rows, record.empty_rows) == (other.rows, other.empty_rows)
    for statistic in set(STATISTICS) - {"row_std_seed", "visible_share"}:  # which count masked keys by definition
        left, right = (torch.tensor(frame[statistic].to_list()) for frame in (found, expected))
        torch.testing.assert_close(left, right, rtol=2e-5, atol=2e-5, msg=statistic)


def test_further_sequences_are_not_taken_for_a_continuation() -> None:
    """The same prompt continued twice from one cache: two pairs of sequences beside the prompt's."""
    model, ids = tiny("llama"), inputs_for("llama", batch=2)["input_ids"]
    with torch.no_grad(), capture(model) as session:
        cache = model(ids[:, :12], use_cache=True)[CACHE]
        for _ in range(2):
            model(ids[:, 12:], **{CACHE: cache})
            cache.crop(-12)  # the last twelve
    assert session.heads()["sequences"].unique().to_list() == [4]


def test_decoded_rows_are_the_rows_of_the_whole_sequence() -> None:
    model = tiny("llama")
    ids = inputs_for("llama", batch=1)["input_ids"]
    with torch.no_grad():
        cache = model(ids[:, :-1], use_cache=True)[CACHE]
        with capture(model) as session:
            model(ids[:, -1:], **{CACHE: cache})
    weights = result_of(twin(model, "llama"), {"input_ids": ids}, output_attentions=True).attentions
    for record, matrix in zip(session.records.values(), weights, strict=True):
        expected = head_statistics(matrix[:, :, -1:])
        for name in ("row_entropy", "self_mass", "previous_mass", "local_mass", "sink_mass"):
            torch.testing.assert_close(torch.cat(record.values[name])[0], expected[name], rtol=1e-5, atol=1e-5)


def test_static_cache_prefill() -> None:
    """More keys than queries in the first pass: empty slots are not seen, and the diagonal starts at the first key."""
    model = tiny("llama")
    ids = inputs_for("llama", batch=1)["input_ids"]
    weights = result_of(twin(model, "llama"), {"input_ids": ids}, output_attentions=True).attentions
    cache = transformers.StaticCache(config=model.config, max_cache_len=40)
    with capture(model) as session:
        result_of(model, {"input_ids": ids, CACHE: cache})
    for record, matrix in zip(session.records.values(), weights, strict=True):
        expected = head_statistics(matrix)
        assert record.verified
        for name in ("row_entropy", "self_mass", "previous_mass", "local_mass"):
            torch.testing.assert_close(torch.cat(record.values[name])[0], expected[name], rtol=1e-5, atol=1e-5)


def test_a_shared_module_has_one_record_a_call() -> None:
    _, session = captured(tiny("albert"), inputs_for("albert"))
    paths = list(session.records)
    assert len(paths) == 3 and paths[1:] == [f"{paths[0]}#2", f"{paths[0]}#3"]
    labels = session.heads()["label"].to_list()
    assert labels[0] == "L0H0" and labels[4] == "L0H0 call 2" and labels[8] == "L0H0 call 3"
    _, again = captured(tiny("albert"), inputs_for("albert"))
    assert list(again.records) == paths


def test_a_model_that_bypasses_the_table_is_met() -> None:
    model = tiny("bloom", "eager")
    _, session = captured(model, inputs_for("bloom"))
    assert session.not_captured == {} and [record.verified for record in session.records.values()] == [True] * 2


def test_the_table_is_as_before() -> None:
    before, order = dict(TABLE), list(TABLE)
    model = tiny("gpt2")
    with capture(model):
        assert TABLE["sdpa"] is not before["sdpa"] and "eager" in TABLE
    assert dict(TABLE) == before and list(TABLE) == order


def test_a_function_registered_meanwhile_stays() -> None:
    def mine(*args: Any, **keywords: Any) -> Any:
        return None

    before = dict(TABLE)
    try:
        with capture(tiny("gpt2")):
            transformers.AttentionInterface.register("mine", mine)
        assert TABLE["mine"] is mine
    finally:
        TABLE.pop("mine", None)
    assert dict(TABLE) == before


def test_an_attention_function_of_the_users_own() -> None:
    """An entry that the user registered is wrapped in place like the others, and its mask is left alone."""
    original = TABLE["sdpa"]
    called = []

    def mine(*args: Any, **keywords: Any) -> Any:
        called.append(1)
        return original(*args, **keywords)

    transformers.AttentionInterface.register("mine", mine)
    transformers.AttentionMaskInterface.register("mine", transformers.masking_utils.sdpa_mask)
    try:
        model = tiny("llama", "mine")
        _, session = captured(model, inputs_for("llama", "left"))
        assert len(called) == 2 and session.heads()["verified"].all()
    finally:
        TABLE.pop("mine")
        transformers.AttentionMaskInterface._global_mapping.pop("mine")


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_cross_attention_has_no_diagonal(implementation: str) -> None:
    config = transformers.BartConfig(
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        vocab_size=61,
        max_position_embeddings=64,
    )
    model = transformers.BartModel._from_config(config, attn_implementation=implementation).eval()
    inputs = inputs_for("bart", "right")
    _, session = captured(model, {**inputs, "decoder_input_ids": inputs["input_ids"][:, :12]})
    frame = session.heads()
    assert frame["verified"].all() and session.not_captured == {}
    paths = frame["module"].unique(maintain_order=True).to_list()
    assert [path.split(".")[-1] for path in paths] == ["self_attn", "self_attn", "encoder_attn"]
    cross = frame["module"].str.ends_with("encoder_attn")
    for name in ("self_mass", "previous_mass", "local_mass"):
        assert (frame[name].is_null() == cross).all()
    assert not frame["row_entropy"].is_null().any()


def vision_eager_attention_forward(*args: Any, **keywords: Any) -> Any:
    """Stands for the second eager function of a modeling file."""


class TwoEagerFunctions(nn.Module):
    def forward(self) -> Any:
        return vision_eager_attention_forward


def test_the_eager_function_is_the_one_that_forward_names() -> None:
    assert _eager_of(TwoEagerFunctions()) is vision_eager_attention_forward
    attention = tiny("llama").model.layers[0].self_attn
    assert _eager_of(attention) is transformers.models.llama.modeling_llama.eager_attention_forward
    with pytest.raises(HeedfulError, match="Linear: no eager attention function found"):
        _eager_of(nn.Linear(1, 1))


def test_another_model_is_left_alone() -> None:
    model, other = tiny("gpt2"), tiny("gpt2")
    with capture(model) as session:
        result_of(other, inputs_for("gpt2"))
    assert session.records == {} and session.not_captured == {}
