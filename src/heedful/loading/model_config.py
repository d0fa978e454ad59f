"""Convert a model's config to a transformers class and config, without keys that name code, files or devices."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from heedful.errors import InputRejected, ResourceLimit
from heedful.loading.bounded import MIB, Bounds, bounded
from heedful.loading.device import DTYPES
from heedful.loading.quiet import quiet_transformers
from heedful.loading.wording import escaped, listed, reason

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_CHOOSES_CODE = re.compile(
    r"auto_map|trust_remote_code|_target_|.*attn_implementation.*|.*experts_implementation.*|fusion_config"
    r"|transformers_weights|use_kernels|kernel_config|distributed_config|device_map|custom_(?:generate|pipelines)"
    r"|use_pretrained_backbone"
    r"|return_dict|use_return_dict|output_attentions|output_hidden_states|_.*",
    re.DOTALL,
)
"""Keys that name code, files or devices, that reach into the config class, or that change what a model returns."""

_UNREMARKABLE = re.compile(r"_(?!.*implementation)(?!target_).*|return_dict|use_return_dict|output_\w+", re.DOTALL)
"""Dropped keys that ordinary configs hold; the others are told to the user."""

_LIMITS = (
    (re.compile(r"(?:num|n)_.*(?:layer|block|stage)s?|.*_layers|layers|depth", re.DOTALL), 2000),
    (re.compile(r".*experts", re.DOTALL), 10_000),
    (re.compile(r"num_labels", re.DOTALL), 100_000),
)
"""Counts that are walked in a loop while the model is built; a larger one would never end. These have a message of
their own; counts under other names are held by the limits of the child in which a config is tried first."""

BOUNDS = Bounds(seconds=3, memory=192 * MIB)
"""What making a config may take. Those of transformers take some milliseconds and less than a megabyte."""


@dataclass(frozen=True, kw_only=True)
class ModelPlan:
    """The transformers class and config to build.

    Attributes:
        config: Config of the class that transformers registers for the model's type.
        model_class: The class to build.
        declared_dtype: The dtype that the config names, or None.
        notes: What was left out of the config.
        is_named: Whether the config names the class; otherwise it was chosen by the model's type.
    """

    config: PreTrainedConfig
    model_class: type[PreTrainedModel]
    declared_dtype: str | None
    notes: tuple[str, ...]
    is_named: bool = True


def plan_model(settings: dict[str, Any], subject: str) -> ModelPlan:
    """Convert config settings to a transformers class and config, without building the model.

    Args:
        settings: The config as data.
        subject: Where it came from, for messages.

    Returns:
        The plan.

    Raises:
        InputRejected: The model's type is unknown, its weights are quantised, or the config does not fit its class.
        ResourceLimit: A count is so large that building would not end.
    """
    if "quantization_config" in settings or "compression_config" in settings:
        raise InputRejected(subject, "unsupported: quantised weights (quantization_config)", "dequantise the model")
    settings, dropped = without_code(settings)
    _check_counts(settings, subject)
    declared = [settings.pop(key, None) for key in ("dtype", "torch_dtype")]
    architectures = settings.get("architectures") or []
    names = [name for name in architectures if isinstance(name, str)] if isinstance(architectures, list) else []
    config = _build_config(settings, names, subject)
    model_class, remark = _model_class(config, names, subject)
    notes = [f"config keys ignored: {listed(dropped)}"] if dropped else []
    named = next((name for name in declared if isinstance(name, str)), "").removeprefix("torch.")
    return ModelPlan(
        config=config,
        model_class=model_class,
        declared_dtype=named if named in DTYPES else None,
        notes=(*notes, *remark),
        is_named=not remark,
    )


def without_code(settings: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a copy of a config without keys that name code, files or devices, and the removed keys worth reporting.

    Args:
        settings: The config as data.

    Returns:
        A copy without those keys, and the names of the ones worth telling.
    """
    dropped: list[str] = []

    def clean(node: Any) -> Any:
        if isinstance(node, list):
            return [clean(item) for item in node]
        if not isinstance(node, dict):
            return node
        dropped.extend(key for key in node if _CHOOSES_CODE.fullmatch(key) and not _UNREMARKABLE.fullmatch(key))
        return {key: clean(value) for key, value in node.items() if not _CHOOSES_CODE.fullmatch(key)}

    return clean(settings), tuple(sorted(set(dropped)))


def _check_counts(node: Any, subject: str) -> None:
    if isinstance(node, list):
        for item in node:
            _check_counts(item, subject)
    elif isinstance(node, dict):
        for key, value in node.items():
            limit = next((limit for pattern, limit in _LIMITS if pattern.fullmatch(key)), None)
            if limit is not None and isinstance(value, int | float) and value > limit:
                message = f"{escaped(key, 60)} = {escaped(value, 40)}, expected at most {limit:,}"
                raise ResourceLimit(f"{subject}: {message} (correct the config)")
            _check_counts(value, subject)


def _build_config(settings: dict[str, Any], architectures: list[str], subject: str) -> PreTrainedConfig:
    from transformers import CONFIG_MAPPING

    from heedful.loading.model_types import register_models

    register_models()
    model_type = settings.get("model_type")
    if model_type is None:
        owner = next((cls for name in architectures if (cls := _named_class(name)) is not None), None)
        model_type = getattr(getattr(owner, "config_class", None), "model_type", None)
    if model_type is None:
        raise InputRejected(subject, "expected a model_type, found none", "add the key, for example 'gpt2' or 'llama'")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        message = f"unknown model_type {escaped(model_type, 60)!r}; code that comes with a model is never run"
        raise InputRejected(subject, message, "use a model that the installed transformers implements")
    kind = CONFIG_MAPPING[model_type]  # imported here, so that the child need not
    known = {key: value for key, value in settings.items() if key != "model_type"}

    def made() -> PreTrainedConfig:
        try:
            with quiet_transformers():
                return kind.from_dict(copy.deepcopy(known))
        except MemoryError:
            raise
        except Exception as error:  # config classes raise whatever their checks raise
            raise InputRejected(subject, f"no config of a {escaped(model_type, 40)}: {reason(error)}") from error

    def too_large(why: str) -> ResourceLimit:
        return ResourceLimit(f"{subject}: no config of a {escaped(model_type, 40)}: {why} (correct the config)")

    bounded(lambda: made() and None, BOUNDS, too_large)
    return made()


def _model_class(
    config: PreTrainedConfig, architectures: list[str], subject: str
) -> tuple[type[PreTrainedModel], tuple[str, ...]]:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING, MODEL_MAPPING

    for name in architectures:
        named = _named_class(name)
        if named is not None and named.config_class is type(config):
            return named, ()
    heads = [MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING]
    if not (getattr(config, "is_decoder", False) or getattr(config, "is_encoder_decoder", False)):
        heads.reverse()  # BERT and its kin have both; a decoder alone has no masked head to be preferred
    for mapping in (*heads, MODEL_MAPPING):
        if (found := _of_mapping(mapping, config)) is not None:
            chosen: Any = found[0] if isinstance(found, tuple | list) else found
            message = f"architectures not known: {listed(architectures)}" if architectures else "no architecture named"
            return chosen, (f"{message}: {chosen.__name__} built",)
    raise InputRejected(subject, f"no language model for a {escaped(type(config).__name__, 60)}", "use a text model")


def headless_plan(plan: ModelPlan) -> ModelPlan | None:
    """Return the plan for the model without a head if the config names no class; else None.

    Args:
        plan: A plan whose head the checkpoint may not have.

    Returns:
        A plan of the base model.
    """
    from transformers import MODEL_MAPPING

    found = _of_mapping(MODEL_MAPPING, plan.config)
    chosen: Any = found[0] if isinstance(found, tuple | list) else found
    if plan.is_named or chosen is None or chosen is plan.model_class:
        return None
    message = f"no architecture named and no head in the checkpoint: {chosen.__name__} built, which has no loss"
    return replace(plan, model_class=chosen, notes=(*plan.notes[:-1], message))


def _of_mapping(mapping: Any, config: PreTrainedConfig) -> Any:
    """The class or classes of a config; None where there is none, or where transformers names one that it lacks."""
    try:
        return mapping.get(type(config), None)
    except (ImportError, ValueError, AttributeError, RuntimeError):
        return None


def _named_class(name: str) -> type[PreTrainedModel] | None:
    """The model class of that name in transformers or heedful; only model classes, never another function or class."""
    import transformers

    from heedful.loading.model_types import MODEL_TYPES

    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,100}", name):
        return None
    try:
        found = getattr(transformers, name, None)
    except (ImportError, RuntimeError):
        return None
    if found is None:
        own = [cls for added in MODEL_TYPES.values() for cls in (added.model, added.language_model)]
        found = next((cls for cls in own if cls.__name__ == name), None)
    if not isinstance(found, type) or not issubclass(found, transformers.PreTrainedModel):
        return None
    return found if found.config_class is not None else None
