"""Everything about a model and the process that a capture must leave as it was."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
import transformers
from torch import nn
from torch.overrides import _get_current_function_mode_stack

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def digest(model: nn.Module) -> str:
    """Hash of every parameter and buffer, names and bytes."""
    found = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        found.update(name.encode())
        found.update(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def snapshot(model: Any) -> dict[str, Any]:
    """Hooks, flags, parameters, configuration, random state, attention tables and function modes."""
    modules = dict(model.named_modules())
    return {
        "hooks": {path: {name: dict(getattr(m, name)) for name in HOOKS} for path, m in modules.items()},
        "attributes": {path: sorted(vars(m)) for path, m in modules.items()},
        "training": {path: m.training for path, m in modules.items()},
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "parameters": digest(model),
        "config": model.config.to_dict() if hasattr(model, "config") else None,
        "implementation": model.config._attn_implementation if hasattr(model, "config") else None,
        "random": torch.get_rng_state().tolist(),
        "table": dict(transformers.modeling_utils.AttentionInterface._global_mapping),
        "modes": len(_get_current_function_mode_stack()),
        "grad": torch.is_grad_enabled(),
        "default_dtype": torch.get_default_dtype(),
    }
