"""Register heedful's model types with transformers."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from heedful.plugins import Registry


@dataclass(frozen=True)
class ModelType:
    """Config and model classes of one model type.

    Attributes:
        config: Its config, whose ``model_type`` names it.
        model: The model without a language head.
        language_model: The model with one.
    """

    config: type[PreTrainedConfig]
    model: type[PreTrainedModel]
    language_model: type[PreTrainedModel]


MODEL_TYPES: Registry[ModelType] = Registry("models", "model type")


def add_model_type(added: ModelType) -> None:
    """Register a model type with heedful and with AutoConfig, AutoModel and AutoModelForCausalLM.

    Raises:
        ValueError: Its name is taken.
    """
    MODEL_TYPES.add(added.config.model_type, added)
    AutoConfig.register(added.config.model_type, added.config, exist_ok=True)
    AutoModel.register(added.config, added.model, exist_ok=True)
    AutoModelForCausalLM.register(added.config, added.language_model, exist_ok=True)


def register_models() -> list[str]:
    """Register all model types of heedful and its plugins with transformers' Auto classes.

    ``heedful.load_model`` does so by itself. Call this before ``AutoModelForCausalLM.from_pretrained``.

    Returns:
        Names of the model types.

    Example:
        >>> import heedful
        >>> "heedful_decoder" in heedful.register_models()
        True
    """
    return list(MODEL_TYPES)
