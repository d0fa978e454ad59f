"""The only module that imports e3nn, for its irreps notation and its generators."""

from __future__ import annotations

from typing import Any

import torch

from heedful.errors import UsageError


def o3() -> Any:
    """Return the module ``e3nn.o3``.

    Raises:
        UsageError: e3nn is not installed.
    """
    try:
        with torch.device("cpu"):  # it loads tables when it is imported, also inside torch.device("meta")
            import e3nn.o3
    except ImportError as error:
        raise UsageError("gauge: needs e3nn, which is not installed (pip install 'heedful[gauge]')") from error
    return e3nn.o3
