"""Reference models as transformers' own: importing this room registers them with the Auto classes."""

from heedful.models.attention import VARIANTS
from heedful.models.decoder import HeedfulDecoderForCausalLM, HeedfulDecoderModel
from heedful.models.decoder_config import HeedfulDecoderConfig
from heedful.models.derived import HeedfulDerivedForCausalLM, HeedfulDerivedModel
from heedful.models.derived_config import HeedfulDerivedConfig
from heedful.models.gauge import GaugeForCausalLM, GaugeModel
from heedful.models.gauge_config import GaugeConfig
from heedful.models.presets import PRESETS, Preset
from heedful.models.registration import register

__all__ = [
    "PRESETS",
    "VARIANTS",
    "GaugeConfig",
    "GaugeForCausalLM",
    "GaugeModel",
    "HeedfulDecoderConfig",
    "HeedfulDecoderForCausalLM",
    "HeedfulDecoderModel",
    "HeedfulDerivedConfig",
    "HeedfulDerivedForCausalLM",
    "HeedfulDerivedModel",
    "Preset",
    "register",
]

register()
