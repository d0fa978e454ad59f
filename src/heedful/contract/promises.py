"""Collect the promises about each attention call from config, batch and user."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.contract import families
from heedful.contract.batch_facts import BatchFacts, facts_of, length_of
from heedful.contract.record import Contract, Promise
from heedful.contract.rules import Rules
from heedful.interception.uncompiled import plain_path

CROSS = re.compile(r"cross|encoder_attn|EncDec|encdec|src_attn|multihead_attn", re.IGNORECASE)
_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?|block)\.(\d+)(?:\.|$)")


@dataclass(frozen=True)
class Place:
    """An attention module with its path, block index and the config that applies to it.

    Attributes:
        path: Its path.
        module: The module.
        config: The nearest config above it, or None.
        model_type: Type that config names.
        layer_type: Kind of layer that the config gives its place, or empty.
        index: Number of its block, or None.
        side: ``encoder``, ``decoder`` or empty, in a model that has both.
    """

    path: str
    module: nn.Module
    config: Any
    model_type: str
    layer_type: str
    index: int | None
    side: str


class PromiseReader:
    """Reads the promises about each attention call of one model and one batch.

    Args:
        model: The model.
        batch: Keyword arguments of its forward.
        contract: What a person promises.
    """

    def __init__(self, model: nn.Module, batch: Mapping[str, Any], contract: Contract) -> None:
        self.model, self.batch, self.contract = model, batch, contract
        self.modules = {plain_path(path): module for path, module in model.named_modules()}
        root = next((c for m in self.modules.values() if (c := getattr(m, "config", None)) is not None), None)
        self.root_type = str(getattr(root, "model_type", "") or "")
        self.root = root
        both = families.has_both_sides(self.root_type)
        self.two_sided = both and (length_of(batch, "decoder_") is not None or "decoder_attention_mask" in batch)
        self.has_sides = both
        self.facts = facts_of(batch, contract, model_type=self.root_type)
        self.target_facts = facts_of(batch, contract, prefix="decoder_") if both else self.facts

    def place(self, path: str, module: nn.Module) -> Place:
        """Return path, block index and config of an attention module."""
        path = path.split("#")[0]
        config = self._config_of(path)
        found = _LAYER.search(path)
        index = int(found.group(1)) if found else getattr(module, "layer_idx", None)
        kinds = getattr(config, "layer_types", None)
        known = isinstance(kinds, list | tuple) and isinstance(index, int) and index < len(kinds)
        layer_type = str(kinds[index]) if known else ""  # type: ignore[index]
        sides = [part for part in path.split(".") if part in ("encoder", "decoder")]
        side = sides[0] if self.has_sides and sides else ""
        return Place(path, module, config, str(getattr(config, "model_type", "") or ""), layer_type, index, side)

    def _config_of(self, path: str) -> Any:
        parts = path.split(".") if path else []
        for end in range(len(parts), -1, -1):
            module = self.modules.get(".".join(parts[:end]))
            config = getattr(module, "config", None)
            if config is not None and getattr(config, "model_type", None) is not None:
                return config
        return self.root

    def rules(self, place: Place, call: AttentionCall) -> Rules:
        """Return the promises about which keys each query sees in one call."""
        facts = self.target_facts if place.side == "decoder" else self.facts
        if call.cross or CROSS.search(place.path):
            return self._cross(call)
        sizes = call.batch, call.n_keys
        offset = call.n_keys - call.n_queries
        direction, contradictions = self.direction(place, call)
        window, chunk = self._reach(place)
        real = facts.real if facts.real is not None and tuple(facts.real.shape) == sizes else None
        labels = facts.labels if facts.labels is not None and tuple(facts.labels.shape) == sizes else None
        blocks = facts.blocks if facts.blocks is not None and tuple(facts.blocks.shape) == sizes else None
        mask = facts.masks.get(place.layer_type, facts.masks.get(""))
        mask = mask if mask is not None and tuple(mask.shape[2:]) == (call.n_queries, call.n_keys) else None
        live = None if real is None else real[:, offset:]
        if labels is not None and live is None and bool((labels < 0).any()):
            live = labels[:, offset:] >= 0
        if facts.contradiction:
            contradictions = (*contradictions, facts.contradiction)
        return Rules(
            queries=call.n_queries,
            keys=call.n_keys,
            offset=offset,
            direction=direction,
            window=window,
            chunk=chunk,
            documents=None if labels is None else Promise("documents", "own document alone", facts.labels_source),
            padding=None if real is None else Promise("padding", "unseen", facts.real_source),
            blocks=None if blocks is None else Promise("blocks", "both ways", facts.blocks_source),
            mask=None if mask is None else Promise("mask", "as given", "batch['attention_mask'] of 4 axes"),
            labels=labels,
            real=real,
            live=live,
            block_labels=blocks,
            given_mask=mask,
            own_only=self._own_only(place, call, facts, real, mask),
            both_edges_exclusive=place.model_type.startswith("gemma3"),
            contradictions=contradictions,
        )

    def _own_only(
        self, place: Place, call: AttentionCall, facts: BatchFacts, real: Tensor | None, mask: Tensor | None
    ) -> bool:
        """Whether everything that may hide a key is known, so that a missing one is a breach."""
        given = self.batch.get("decoder_attention_mask" if place.side == "decoder" else "attention_mask")
        unread = given is not None and real is None and mask is None
        return not unread and call.n_queries == call.n_keys and place.model_type not in families.SPARSE

    def _cross(self, call: AttentionCall) -> Rules:
        real = self.facts.real if self.has_sides else None
        real = real if real is not None and tuple(real.shape) == (call.batch, call.n_keys) else None
        rows = self.target_facts.real if self.has_sides else None
        rows = rows if rows is not None and tuple(rows.shape) == (call.batch, call.n_queries) else None
        return Rules(
            queries=call.n_queries,
            keys=call.n_keys,
            offset=None,
            padding=None if real is None else Promise("padding", "unseen", self.facts.real_source + " of the source"),
            real=real,
            live=rows,
            own_only=self.has_sides and real is not None and self.root_type not in families.SPARSE,
        )

    def direction(self, place: Place, call: AttentionCall | None = None) -> tuple[Promise | None, tuple[str, ...]]:
        """Return whether self-attention is promised to be causal or bidirectional, and sources that disagree."""
        if self.contract.direction is not None:
            return Promise("direction", self.contract.direction, "contract"), ()
        found = self._direction(place)
        if found is None:
            return None, ()
        if place.model_type == "gemma" and self.root_type == "paligemma":
            return (Promise("direction", "causal", "PaliGemma") if self.facts.blocks is not None else None), ()
        says = getattr(place.module, "is_causal", None)
        open_to_all = call is not None and not call.visibility.is_causal and call.visibility.mask is None
        if found.value == "causal" and says is False and open_to_all:
            message = f"direction: {found.source} says causal, {type(place.module).__name__}.is_causal is False"
            return None, (message,)
        masks = (self.target_facts if place.side == "decoder" else self.facts).masks
        mask = masks.get(place.layer_type, masks.get(""))
        square = mask is not None and mask.shape[2] == mask.shape[3] and self.facts.blocks is None
        if found.value == "causal" and square and mask is not None and bool(mask.float().triu(1).any()):
            return None, (f"direction: {found.source} says causal, the mask of the batch shows later keys",)
        return found, ()

    def _direction(self, place: Place) -> Promise | None:
        config, name = place.config, place.model_type
        if getattr(config, "is_causal", None) is False:
            return Promise("direction", "both", "config.is_causal = False")
        both = getattr(config, "use_bidirectional_attention", None)
        if both is True or both == "all":
            return Promise("direction", "both", "config.use_bidirectional_attention")
        if self.has_sides:
            if not place.side or self.root_type in families.SPARSE:
                return None
            way = "causal" if place.side == "decoder" else "both"
            return Promise("direction", way, f"the {place.side} of model type {self.root_type}")
        if name in families.SPARSE:
            return None
        if families.is_encoder_type(name):
            if families.is_decoder_type(name) and getattr(config, "is_decoder", False):
                return Promise("direction", "causal", "config.is_decoder = True")
            return Promise("direction", "both", f"model type {name}, an encoder")
        if families.is_decoder_type(name):
            return Promise("direction", "causal", f"model type {name}, a decoder")
        class_name = type(self.model).__name__
        alone = len([m for m in self.modules.values() if getattr(m, "config", None) is not None]) > 0
        if "ForCausalLM" in class_name and alone and name == self.root_type and name not in families.UNSURE:
            return Promise("direction", "causal", f"class {class_name}")
        return None

    def _reach(self, place: Place) -> tuple[Promise | None, Promise | None]:
        """Window (0: none) and chunk of one layer; None where neither is known."""
        given = self.contract.window
        if given is not None:
            one = given if isinstance(given, int) else _of_layer(given, place.index)
            return (None if one is None else Promise("window", one, "contract")), None
        config, kind = place.config, place.layer_type
        if config is None or place.model_type in families.SPARSE:
            return None, None
        width = getattr(config, "sliding_window", None)
        if kind == "sliding_attention":
            promised = isinstance(width, int) and width > 0
            source = f"config.layer_types[{place.index}] and config.sliding_window"
            return (Promise("window", width, source) if promised else None), None
        if kind == "full_attention":
            return Promise("window", 0, f"config.layer_types[{place.index}]"), None
        if kind == "chunked_attention":
            size = getattr(config, "attention_chunk_size", None)
            source = f"config.layer_types[{place.index}] and config.attention_chunk_size"
            return None, (Promise("chunk", size, source) if isinstance(size, int) and size > 0 else None)
        if kind:
            return None, None
        return self._older_window(place, width), None

    def _older_window(self, place: Place, width: Any) -> Promise | None:
        config = place.config
        kinds = getattr(config, "attention_layers", None)
        if place.model_type == "gpt_neo" and isinstance(kinds, list | tuple) and place.index is not None:
            local = kinds[place.index] == "local"
            return Promise("window", int(config.window_size) if local else 0, f"config.attention_layers[{place.index}]")
        if isinstance(width, int) and width > 0 and getattr(config, "use_sliding_window", True):
            every = place.model_type in families.EVERY_LAYER
            return Promise("window", width, "config.sliding_window") if every else None
        others = ("attention_window", "local_attention", "attention_window_size", "window_size", "attention_chunk_size")
        known = families.is_decoder_type(place.model_type) or families.is_encoder_type(place.model_type)
        if (known or self.has_sides) and not any(getattr(config, name, None) for name in others):
            return Promise("window", 0, f"config of {place.model_type}, which names no window")
        return None


def _of_layer(windows: Any, index: int | None) -> int | None:
    return None if index is None or index >= len(windows) else int(windows[index])
