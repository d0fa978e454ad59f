"""The Auto classes of transformers learn of the models of this room."""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from heedful.models.decoder import HeedfulDecoderForCausalLM, HeedfulDecoderModel
from heedful.models.decoder_config import HeedfulDecoderConfig
from heedful.models.derived import HeedfulDerivedForCausalLM, HeedfulDerivedModel
from heedful.models.derived_config import HeedfulDerivedConfig


def register() -> None:
    """Tell AutoConfig, AutoModel and AutoModelForCausalLM of each model type; a second call changes nothing."""
    for config, model, causal in (
        (HeedfulDecoderConfig, HeedfulDecoderModel, HeedfulDecoderForCausalLM),
        (HeedfulDerivedConfig, HeedfulDerivedModel, HeedfulDerivedForCausalLM),
    ):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModel.register(config, model, exist_ok=True)
        AutoModelForCausalLM.register(config, causal, exist_ok=True)
