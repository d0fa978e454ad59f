"""Checks of a model's forward arguments: the cache may have either of transformers' two names, and unknown arguments
are refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.masking_utils import create_causal_mask

CACHE_NAMES = ["cache", "past_key_values"]
"""What transformers calls a cache: the second until 5.23, the first from 5.24 on."""

CACHE = next(name for name in CACHE_NAMES if name in inspect.signature(create_causal_mask).parameters)
"""The name that the installed transformers has for arguments and outputs."""

_LOSS = ("num_items_in_batch", "ignore_index", "shift_labels")
_KERNEL = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "kernel_options")
_SHOWN = ("output_attentions", "output_hidden_states", "return_dict")
_UNREAD = ("cache_position",)  # generate passes it until 5.23 beside the cache that says the same


def one_cache(cache: Cache | None, past_key_values: Cache | None) -> Cache | None:
    """Return the cache from whichever of its two argument names was used.

    Raises:
        TypeError: It was given under both.
    """
    if cache is not None and past_key_values is not None:
        raise TypeError("expected cache or past_key_values, which are two names of one argument, and not both")
    return past_key_values if cache is None else cache


def cache_to_fill(model: PreTrainedModel, given: Cache | None, use_cache: bool | None) -> Cache | None:
    """Return the cache that a forward extends: the given one, a new one if requested, or None.

    Args:
        model: Its config says what is wanted where ``use_cache`` does not.
        given: The cache of earlier tokens, or None.
        use_cache: Whether one is wanted.
    """
    wanted = model.config.use_cache if use_cache is None else use_cache
    replayed = getattr(model, "gradient_checkpointing", False) and model.training and torch.is_grad_enabled()
    return DynamicCache(config=model.config) if given is None and wanted and not replayed else given


def no_cache(model: PreTrainedModel, given: Cache | None) -> None:
    """Raise an error if a cache is passed to a model that doesn't support it.

    Raises:
        TypeError: One was given.
    """
    if given is not None:
        message = "it keeps no cache: give it all tokens at once"
        raise TypeError(f"{type(model).__name__}.forward takes no argument {CACHE!r}: {message}")


def for_loss(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that belong to the loss function."""
    return {name: value for name, value in options.items() if name in _LOSS}


def for_model(model: PreTrainedModel, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that belong to the inner model and its kernel.

    Raises:
        TypeError: An option is nobody's; the message names it, the model, and what is known.
    """
    for name in options:
        if name not in (*_LOSS, *_KERNEL, *_SHOWN, *_UNREAD):
            own = [
                known for known, of in inspect.signature(model.forward).parameters.items() if of.kind != of.VAR_KEYWORD
            ]
            known = ", ".join(dict.fromkeys((*own, *_SHOWN, *_KERNEL, *_LOSS)))
            raise TypeError(f"{type(model).__name__}.forward takes no argument {name!r}: expected of {known}")
    return {name: value for name, value in options.items() if name not in (*_LOSS, *_UNREAD)}
