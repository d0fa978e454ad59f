"""Compute the rotary frequencies that a config promises, by formula instead of the model's buffers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from heedful.contract import families
from heedful.contract.promises import Place
from heedful.contract.record import Contract

NO_ROTARY_IN_FULL = frozenset({"cohere2", "exaone4"})
"""Types whose full layers are not rotated where others have a window."""

TABLE = {"gptj", "codegen"}
"""Types that rotate ``config.rotary_dim`` components on a base of 10,000."""


@dataclass(frozen=True)
class RotaryPromise:
    """The promised rotation of queries and keys: angles, pairing and positions.

    Attributes:
        angles: ``(pair,)`` float64 angle of each pair a position; empty where nothing is to be rotated.
        factor: Factor of the rotated components.
        width: Components that are rotated.
        pairings: ``half``, ``interleaved``, or both where the config does not say.
        theta: Base of the frequencies.
        sentence: What is promised, in words.
        source: Where.
        start: Component at which the rotated ones begin.
    """

    angles: Tensor
    factor: float
    width: int
    pairings: tuple[str, ...]
    theta: float
    sentence: str
    source: str
    start: int = 0


def rotary_promise(place: Place, dim: int, length: int, contract: Contract) -> RotaryPromise | None:
    """Return the rotation that config or user promise for one attention module, or None.

    Args:
        place: The module.
        dim: Width of a head.
        length: Largest position of the batch, plus one.
        contract: What a person promises.

    Returns:
        The promise, or None where there is none, or one by a formula that is not known here,
        or of a model type of which it is not known how it rotates.
    """
    config, name = place.config, place.model_type
    pairings: tuple[str, ...] = ("half", "interleaved")
    if contract.pairing is not None:
        pairings = (contract.pairing,)
    elif name in families.INTERLEAVED or name in families.HALF_SPLIT:
        pairings = ("interleaved",) if name in families.INTERLEAVED else ("half",)
    found = parameters_of(config, place.layer_type)
    if name in TABLE and found is None:
        found = {"rope_theta": 10000.0, "rope_type": "default", "width": getattr(config, "rotary_dim", None) or dim}
    if contract.theta is not None:
        found = {**(found or {"rope_type": "default"}), "rope_theta": contract.theta}
    latent = name in families.LATENT and hasattr(place.module, "qk_rope_head_dim")
    if latent and contract.pairing is None:
        pairings = ("interleaved",) if name == "deepseek_v2" else ("half",)
        pairings = ("interleaved to half",) if getattr(config, "rope_interleave", False) is True else pairings
    known = name in families.INTERLEAVED or name in families.HALF_SPLIT or contract.theta or contract.pairing or latent
    if found is None or not known or getattr(config, "alibi", False) is True:
        return None
    if (reason := _unrotated(place)) is not None:
        return RotaryPromise(torch.zeros(0), 1.0, 0, pairings, math.nan, "not rotated", reason)
    theta = found.get("rope_theta")
    if not isinstance(theta, int | float) or theta <= 0:
        return None
    share = found.get("partial_rotary_factor", getattr(config, "partial_rotary_factor", None))
    width = int(found.get("width", int(dim * (1.0 if share is None else float(share)))))
    if latent:
        width = int(place.module.qk_rope_head_dim)  # type: ignore[arg-type]
    width -= width % 2
    made = _made(found, config, width, dim, length, float(theta))
    if made is None or not 0 < width <= dim:
        return None
    kind = found.get("rope_type", found.get("type", "default"))
    sentence = f"theta {theta:g}" + (f", {kind}" if kind != "default" else "") + (f", {width} of {dim}" * (width < dim))
    source = "contract" if contract.theta is not None else "config.rope_parameters"
    return RotaryPromise(
        made[0], made[1], width, pairings, float(theta), sentence, source, dim - width if latent else 0
    )


def unjudged(place: Place) -> str:
    """Return why a promised rotation cannot be checked, or an empty string if no rotation is promised."""
    config = place.config
    if getattr(config, "alibi", False) is True or parameters_of(config, place.layer_type) is None:
        return ""
    if hasattr(place.module, "qk_rope_head_dim"):
        return f"how the latent heads of model type {place.model_type} are rotated is not known here"
    if not (place.model_type in families.INTERLEAVED or place.model_type in families.HALF_SPLIT):
        return f"which components model type {place.model_type} rotates together is not known here (Contract(pairing=))"
    return "its formula is not known here, or the text is longer than it is known for"


def flat_positions(batch: Mapping[str, Any]) -> tuple[Tensor | None, str]:
    """Return text positions shared by the time, height and width axes, or None with the reason.

    A config with ``mrope_section`` divides pairs among the three; where they are equal, it rotates as one without does.
    """
    given = batch.get("position_ids")
    if isinstance(given, Tensor) and given.dim() == 3 and len(given) >= 3:
        own = given[-3:]
        flat = bool((own == own[:1]).all())
        return (own[0], "") if flat else (None, "mrope_section: positions of time, height and width differ here")
    if isinstance(given, Tensor):
        return (given, "") if given.dim() == 2 else (None, "mrope_section: positions of an unknown form")
    pictures = [name for name in batch if "pixel" in name or "grid" in name or "video" in name]
    return (None, "mrope_section: a batch with pictures brings no positions") if pictures else (None, "")


def parameters_of(config: Any, layer_type: str) -> Mapping[str, Any] | None:
    """Return the config's rotary parameters for a layer type, or None."""
    rope = getattr(config, "rope_parameters", None)
    if not isinstance(rope, Mapping):
        return None
    inner = rope.get(layer_type) if layer_type else None
    if isinstance(inner, Mapping):
        return dict(inner)
    return None if any(isinstance(one, Mapping) for one in rope.values()) else dict(rope)


def _unrotated(place: Place) -> str | None:
    """Where the config says that a layer is not rotated; None where it is."""
    layers = getattr(place.config, "no_rope_layers", None)
    if isinstance(layers, list | tuple) and place.index is not None and place.index < len(layers):
        return None if layers[place.index] else f"config.no_rope_layers[{place.index}] = 0"
    windowed = bool(getattr(place.config, "sliding_window", None))
    if windowed and place.model_type in NO_ROTARY_IN_FULL and place.layer_type == "full_attention":
        return f"config.layer_types[{place.index}] of {place.model_type}, whose full layers are not rotated"
    return None


def _made(
    rope: Mapping[str, Any], config: Any, width: int, dim: int, length: int, theta: float
) -> tuple[Tensor, float] | None:
    """Angles and factor by the formula that is named; None where it is not known here."""
    kind = rope.get("rope_type", rope.get("type", "default"))
    steps = torch.arange(0, width, 2, dtype=torch.float64)
    plain = theta ** (-steps / width)
    factor = rope.get("factor")
    if kind == "default":
        return plain, 1.0
    if kind == "linear" and factor:
        return plain / float(factor), 1.0
    if kind == "dynamic":
        most = getattr(config, "max_position_embeddings", None)
        return (plain, 1.0) if isinstance(most, int) and length <= most else None
    if kind == "llama3":
        return _llama3(plain, rope)
    if kind == "yarn":
        return _yarn(plain, rope, config, width, theta)
    if kind == "longrope":
        return _longrope(plain, rope, config, length)
    return None


def _llama3(plain: Tensor, rope: Mapping[str, Any]) -> tuple[Tensor, float]:
    factor, low, high = (float(rope[name]) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    original = float(rope["original_max_position_embeddings"])
    turns = original * plain / (2 * math.pi)
    smooth = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 - smooth) * plain / factor + smooth * plain, 1.0


def _yarn(plain: Tensor, rope: Mapping[str, Any], config: Any, width: int, theta: float) -> tuple[Tensor, float] | None:
    original = rope.get("original_max_position_embeddings")
    if not original:
        return None
    factor = rope.get("factor") or config.max_position_embeddings / original
    ends = [
        width * math.log(original / (float(rope.get(name) or usual) * 2 * math.pi)) / (2 * math.log(theta))
        for name, usual in (("beta_fast", 32), ("beta_slow", 1))
    ]
    if rope.get("truncate", True):
        ends = [math.floor(ends[0]), math.ceil(ends[1])]
    low, high = max(ends[0], 0), min(ends[1], width - 1)
    high = high + 0.001 if low == high else high
    ramp = ((torch.arange(len(plain), dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
    angles = plain / factor * ramp + plain * (1 - ramp)
    given, one, every = rope.get("attention_factor"), rope.get("mscale"), rope.get("mscale_all_dim")
    if given is not None:
        return angles, float(given)

    def size(by: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * by * math.log(factor) + 1.0

    return angles, size(one) / size(every) if one and every else size(1.0)


def _longrope(plain: Tensor, rope: Mapping[str, Any], config: Any, length: int) -> tuple[Tensor, float] | None:
    original = rope.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
    if not original:
        return None
    parts = rope["long_factor"] if length > original else rope["short_factor"]
    if len(parts) != len(plain):
        return None
    factor = rope.get("factor") or config.max_position_embeddings / original
    given = rope.get("attention_factor")
    size = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    return plain / torch.tensor(parts, dtype=torch.float64), float(size if given is None else given)
