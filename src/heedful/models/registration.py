"""The Auto classes of transformers learn of the models of this room."""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from heedful.models.decoder import HeedfulDecoderForCausalLM, HeedfulDecoderModel
from heedful.models.decoder_config import HeedfulDecoderConfig


def register() -> None:
    """Tell AutoConfig, AutoModel and AutoModelForCausalLM of ``heedful_decoder``; a second call changes nothing."""
    AutoConfig.register(HeedfulDecoderConfig.model_type, HeedfulDecoderConfig, exist_ok=True)
    AutoModel.register(HeedfulDecoderConfig, HeedfulDecoderModel, exist_ok=True)
    AutoModelForCausalLM.register(HeedfulDecoderConfig, HeedfulDecoderForCausalLM, exist_ok=True)
