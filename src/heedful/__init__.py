"""heedful: are your model's attention heads paying attention?

Names are loaded on first use, so that ``import heedful`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heedful.capture import Session, capture, replace, verify  # type: ignore[no-redef]
    from heedful.checks import Margins, Settings, validate
    from heedful.comparison import compare  # type: ignore[no-redef]
    from heedful.compression import prune, quantize_keys  # type: ignore[no-redef]
    from heedful.core import (
        AttentionCall,
        Finding,
        HeedfulError,
        Report,
        Verdict,
        bidirectional,
        causal,
        documents,
        masked,
        padding,
    )
    from heedful.core.comparison import Comparison
    from heedful.engine import Extras, Groups, Moments, measure
    from heedful.loading import load_documents, load_model, make_sequences

__version__ = "0.1.0"

_HOMES = {
    "heedful.core": (
        "AttentionCall",
        "Finding",
        "HeedfulError",
        "Report",
        "Verdict",
        "bidirectional",
        "causal",
        "documents",
        "masked",
        "padding",
    ),
    "heedful.engine": ("Extras", "Groups", "Moments", "measure"),
    "heedful.capture": ("Session", "capture", "replace", "verify"),
    "heedful.loading": ("load_documents", "load_model", "make_sequences"),
    "heedful.checks": ("Margins", "Settings", "validate"),
    "heedful.comparison": ("compare",),
    "heedful.compression": ("prune", "quantize_keys"),
    "heedful.core.comparison": ("Comparison",),
}

__all__ = [
    "AttentionCall",
    "Comparison",
    "Extras",
    "Finding",
    "Groups",
    "HeedfulError",
    "Margins",
    "Moments",
    "Report",
    "Session",
    "Settings",
    "Verdict",
    "bidirectional",
    "capture",
    "causal",
    "compare",
    "documents",
    "load_documents",
    "load_model",
    "make_sequences",
    "masked",
    "measure",
    "padding",
    "prune",
    "quantize_keys",
    "replace",
    "validate",
    "verify",
]


def drawing(name: str) -> Any:
    """The function of ``heedful.notebook`` by which a record shows itself; loaded when one is first shown."""
    return getattr(importlib.import_module("heedful.notebook"), name)


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(home), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'heedful' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
