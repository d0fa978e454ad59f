"""Registry of additional probes, which plugins use to measure each attention call."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from heedful.evaluation.evidence import ProbedCall
from heedful.plugins import Registry

PROBES: Registry[Callable[[ProbedCall], dict[str, Tensor]]] = Registry("probes", "probe")
"""Name to a function of one call: arrays ``(sequence, head)`` by name, none where the call has nothing of it."""
