"""The Auto classes of transformers learn of the models of this room."""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from heedful.gauge.model.gauge import GaugeForCausalLM, GaugeModel
from heedful.gauge.model.gauge_config import GaugeConfig
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM, HeedfulDerivedModel
from heedful.ngrams.derivation.model.derived_config import HeedfulDerivedConfig
from heedful.training.model.decoder import HeedfulDecoderForCausalLM, HeedfulDecoderModel
from heedful.training.model.decoder_config import HeedfulDecoderConfig


def register() -> None:
    """Tell AutoConfig, AutoModel and AutoModelForCausalLM of heedful's models; a second call changes nothing."""
    for config, model, language_model in (
        (HeedfulDecoderConfig, HeedfulDecoderModel, HeedfulDecoderForCausalLM),
        (HeedfulDerivedConfig, HeedfulDerivedModel, HeedfulDerivedForCausalLM),
        (GaugeConfig, GaugeModel, GaugeForCausalLM),
    ):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModel.register(config, model, exist_ok=True)
        AutoModelForCausalLM.register(config, language_model, exist_ok=True)
