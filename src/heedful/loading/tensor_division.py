"""``--parallel tensor``: shard a model over processes by transformers' tensor-parallel plan for its class."""

from __future__ import annotations

import math
from typing import Any

import torch

from heedful.errors import InputRejected, UsageError
from heedful.loading.model_config import ModelPlan
from heedful.loading.wording import escaped

_DIVIDED = "colwise"
_KEYS = ("k_proj", "qkv_proj", "query_key_value")
"""Projections that give keys; where one is divided by columns, every process has some heads of each layer."""


def tensor_division(processes: int) -> dict[str, Any]:
    """Return the arguments that make transformers shard a model over this run's processes.

    Args:
        processes: Their number.

    Returns:
        Keyword arguments of ``from_pretrained``.

    Raises:
        UsageError: This transformers does not do it.
    """
    try:
        from transformers.distributed import DistributedConfig

        return {"distributed_config": DistributedConfig(tp_plan="auto", tp_size=processes)}
    except (ImportError, TypeError) as error:
        message = "needs transformers 5.20 or later, whose plans divide parameters as DTensors"
        raise UsageError(f"--parallel tensor: {message} (pip install --upgrade transformers)") from error


def ensure_divisible(plan: ModelPlan, processes: int, device: torch.device, subject: str) -> None:
    """Raise an error if the model cannot be sharded into whole heads over these processes.

    Args:
        plan: What will be built.
        processes: Number of processes.
        device: Where it will stand.
        subject: Its name in messages.

    Raises:
        InputRejected: Its class has no plan, or its heads do not divide evenly.
        UsageError: transformers would put it on another device than the one named.
    """
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    there = "cpu" if found is None else found.type
    if device.type != there:
        message = f"transformers divides a model over this machine's {there} devices, not {device}"
        raise UsageError(f"--parallel tensor: {message} (name --device {there})")
    config: Any = plan.config.get_text_config()
    rules = dict(getattr(config, "base_model_tp_plan", None) or {})
    if not rules:
        message = f"transformers has no plan to divide a {plan.model_class.__name__} over processes"
        raise InputRejected(subject, message, "leave --parallel tensor out, or spread it with --device auto")
    if not any(name.rsplit(".", 1)[-1] in _KEYS and style == _DIVIDED for name, style in rules.items()):
        return  # heads stay whole in every process
    heads = int(config.num_attention_heads)
    shared = int(getattr(config, "num_key_value_heads", None) or heads)
    most = math.gcd(heads, shared)
    if most % processes:
        fits = [str(count) for count in range(2, most + 1) if most % count == 0]
        message = f"{heads} query heads and {shared} key heads do not divide evenly over {processes} processes"
        fix = f"start {' or '.join(fits)} processes" if fits else "its heads divide over no number of processes"
        raise InputRejected(subject, escaped(message), fix)
