"""Convert torch tensors, numpy arrays and nested lists to torch tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.errors import CallError


def tensor_of(name: str, given: Any) -> Any:
    """Convert a tensor, numpy array or nested list to a tensor; None stays None.

    Args:
        name: What it is called in messages.
        given: The tensor; one of torch is returned as it is.

    Raises:
        CallError: It is none of these.

    Example:
        >>> tensor_of("key", [[1.0, 2.0]]).shape
        torch.Size([1, 2])
    """
    if given is None or isinstance(given, Tensor):
        return given
    if isinstance(given, np.ndarray | np.generic | list | tuple):
        try:
            return torch.as_tensor(np.ascontiguousarray(given) if isinstance(given, np.ndarray) else np.asarray(given))
        except (TypeError, ValueError) as error:
            message = " ".join(str(error).split())[:120]
            raise CallError(
                f"{name}: expected a tensor, got a {type(given).__name__} that is none: {message}"
            ) from None
    raise CallError(f"{name}: expected a tensor or a numpy array, got {type(given).__name__}")
