"""Every model of the room writes the same with a cache as without one, padded or not, and refuses unknown arguments."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel
from transformers.utils import logging

from heedful import register_models
from heedful.gauge.model.gauge_config import GaugeConfig
from heedful.ngrams.derivation.model.derived_config import HeedfulDerivedConfig
from heedful.training.model.attention.softmax import VARIANTS
from heedful.training.model.decoder_config import HeedfulDecoderConfig
from heedful.training.model.language_head import CACHE, CACHE_NAMES

register_models()

NEW = 6
START = 7
TOKENS = 61

DECODERS: dict[str, dict[str, Any]] = {name: {"attention": name} for name in VARIANTS} | {
    "plain": {"qk_norm": False, "num_key_value_heads": 2},
    "tied": {"tie_word_embeddings": True, "head_dim": 12},
}
DERIVED: dict[str, dict[str, Any]] = {
    "derived": {},
    "learned positions": {"positions": "learned", "context": [2, 1]},
    "sinusoidal positions": {"positions": "sinusoidal", "context": [3, 2]},
    "rotary positions": {"positions": "rotary", "attention_input": "none"},
    "looking back": {"offsets": [[1, 2], [None, 1]], "max_position_embeddings": 32},
    "no attention": {"num_attention_heads": 0},
}
GAUGES: dict[str, dict[str, Any]] = {
    "gauge": {},
    "full": {"covariance": "full", "position_frames": "learned", "feed_forward": "variational", "inner_steps": 2},
    "isotropic": {"covariance": "isotropic", "token_frames": "none", "feed_forward": "none", "layer_norm": True},
    "seeing itself": {"mask_self": False, "position_frames": "sinusoidal"},
}
MODELS = (
    [(HeedfulDecoderConfig, name, options) for name, options in DECODERS.items()]
    + [(HeedfulDerivedConfig, name, options) for name, options in DERIVED.items()]
    + [(GaugeConfig, name, options) for name, options in GAUGES.items()]
)
every_model = pytest.mark.parametrize(
    ("config", "options"), [(config, options) for config, _, options in MODELS], ids=[name for _, name, _ in MODELS]
)
every_kind = pytest.mark.parametrize("config", [HeedfulDecoderConfig, HeedfulDerivedConfig, GaugeConfig])


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What transformers warns of, by either of its ways, is an error: once told, it would be told no more."""
    monkeypatch.setattr(logging.get_logger("transformers").__class__, "warning_once", _refused, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def _refused(_: Any, message: str, *__: Any, **___: Any) -> None:
    raise AssertionError(message)


def built(config: type, options: dict[str, Any], implementation: str = "sdpa") -> PreTrainedModel:
    """Weights so large that what is written depends on what was written."""
    torch.manual_seed(5)
    sizes: dict[str, Any] = {"tie_word_embeddings": False}  # a tied head may say each token again
    sizes |= {"irreps": "2x0e + 2x1e + 1x2e"} if config is GaugeConfig else {"hidden_size": 32}
    model = AutoModelForCausalLM.from_config(
        config(vocab_size=TOKENS, num_hidden_layers=2, **(sizes | options)), attn_implementation=implementation
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "beliefs" not in name:
                parameter.mul_(6.0)
    return model.eval()


def written(model: Any, ids: Tensor, mask: Tensor | None = None, **options: Any) -> Tensor:
    settings = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}
    found: Tensor = model.generate(ids, attention_mask=mask, **settings, **options)
    assert found.shape == (len(ids), ids.shape[1] + NEW)
    return found[:, ids.shape[1] :]


def started(padded: bool) -> tuple[Tensor, Tensor]:
    """Sequences, and their mask: with padding before two of them."""
    ids = torch.randint(2, TOKENS, (3, START), generator=torch.Generator().manual_seed(6))
    mask = torch.ones_like(ids)
    if padded:
        mask[1, :3], mask[2, :1] = 0, 0
    return ids * mask, mask


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@every_model
def test_a_cache_changes_no_token(config: type, options: dict[str, Any], implementation: str) -> None:
    model = built(config, options, implementation)
    ids, mask = started(padded=implementation == "sdpa")
    plain = written(model, ids, mask, use_cache=False)
    assert torch.equal(written(model, ids, mask, use_cache=True), plain)
    fixed = {"cache_implementation": "static", "disable_compile": True}
    assert torch.equal(written(model, ids, mask, use_cache=True, **fixed), plain)
    assert options.get("tie_word_embeddings") or len(plain.unique()) > 3


@every_model
def test_padding_before_a_text_changes_no_token(config: type, options: dict[str, Any]) -> None:
    model = built(config, options)
    ids, mask = started(padded=True)
    for cached in (True, False):
        found = written(model, ids, mask, use_cache=cached)
        for row, own, seen in zip(found, ids, mask.bool(), strict=True):
            assert torch.equal(written(model, own[seen][None], use_cache=cached)[0], row)


@every_model
def test_what_is_written_is_the_likeliest_by_whole_forwards(config: type, options: dict[str, Any]) -> None:
    model = built(config, options)
    ids, _ = started(padded=False)
    found = torch.cat([ids, written(model, ids)], dim=1)
    with torch.no_grad():
        logits = model(found).logits
    assert torch.equal(logits[:, START - 1 : -1].argmax(-1), found[:, START:])


@every_model
def test_several_beams_are_the_same_with_a_cache(config: type, options: dict[str, Any]) -> None:
    model = built(config, options)
    ids, mask = started(padded=True)
    found = [written(model, ids, mask, use_cache=cached, num_beams=3) for cached in (True, False)]
    assert torch.equal(*found)


@pytest.mark.parametrize("name", CACHE_NAMES)
@pytest.mark.parametrize("config", [HeedfulDecoderConfig, GaugeConfig])
@pytest.mark.parametrize("head", [True, False])
def test_a_cache_is_taken_under_either_name(config: type, name: str, head: bool) -> None:
    whole = built(config, {}).double()  # logits in the hundreds: float32 rounds them by .006 on some processors
    model, shown = (whole, "logits") if head else (whole.model, "last_hidden_state")
    ids, _ = started(padded=False)
    with torch.no_grad():
        first = model(ids[:, :4], use_cache=True)
        assert getattr(first, CACHE).get_seq_length() == 4
        second = model(ids[:, 4:], **{name: getattr(first, CACHE)})
        torch.testing.assert_close(getattr(second, shown), getattr(model(ids), shown)[:, 4:], rtol=0, atol=1e-9)
        with pytest.raises(TypeError, match="two names of one argument"):
            model(ids, **dict.fromkeys(CACHE_NAMES, getattr(first, CACHE)))


@pytest.mark.parametrize("head", [True, False])
@every_kind
def test_an_argument_that_nobody_knows_is_refused_by_name(config: type, head: bool) -> None:
    whole = built(config, {})
    model = whole if head else whole.model
    ids, _ = started(padded=False)
    for wrong in ({"past": None}, {"is_causal": False}, {"token_type_ids": ids}):
        message = rf"^{type(model).__name__}.forward takes no argument '{next(iter(wrong))}': expected of input_ids, .*"
        with pytest.raises(TypeError, match=message):
            model(ids, **wrong)


@every_kind
def test_what_transformers_passes_is_known(config: type) -> None:
    model = built(config, {}, "eager")
    ids, mask = started(padded=False)
    passed = {"num_items_in_batch": 18, "logits_to_keep": 0, "cache_position": torch.arange(START), "use_cache": False}
    wanted = {"output_attentions": True, "output_hidden_states": True, "return_dict": True}
    shown = model(ids, attention_mask=mask, labels=ids, **passed, **wanted)
    assert len(shown.attentions) == 2 and len(shown.hidden_states) == 3
    torch.testing.assert_close(shown.loss, model(ids, labels=ids).loss)
    assert torch.equal(model(ids, return_dict=False)[0], shown.logits)
    model.config.return_dict = False
    assert torch.equal(model(ids)[0], shown.logits)


def test_a_model_without_a_cache_refuses_one() -> None:
    model = built(HeedfulDerivedConfig, {"context": [2, 2]})
    ids, _ = started(padded=False)
    with pytest.raises(
        TypeError, match=r"HeedfulDerivedModel.forward takes no argument .* keeps no cache: give it all"
    ):
        model(ids, **{CACHE: DynamicCache()})
    with pytest.raises(ValueError, match="attention_mask of 7 tokens beside 1: expected all, for no cache is kept"):
        model(ids[:, -1:], attention_mask=torch.ones_like(ids))
    filled = built(HeedfulDecoderConfig, {})(ids, use_cache=True)
    with pytest.raises(TypeError, match="keeps no cache"):
        written(model, ids, **{CACHE: getattr(filled, CACHE)})


@every_kind
def test_checkpointed_training_keeps_no_cache(config: type) -> None:
    model = built(config, {}).train()
    ids, _ = started(padded=False)
    plain = model(ids, labels=ids).loss
    (getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable)()
    found = model(ids, labels=ids)
    found.loss.backward()
    assert getattr(found, CACHE) is None and torch.equal(found.loss, plain)
