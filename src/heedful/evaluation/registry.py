"""Registry of checks, by name, with the fixed facts of each.

Registry of additional probes, which plugins use to measure each attention call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from heedful.evaluation.evidence import ProbedCall
from heedful.plugins import Registry

Function = TypeVar("Function", bound=Callable[..., Any])

PRESETS = ("quick", "standard", "full")
SECTION_TITLES = {
    1: "Correctness",
    2: "Position",
    3: "Tokens",
    4: "Statistics",
    5: "Heads",
    6: "Queries",
    7: "Diversity",
    8: "Gradients",
    9: "Ablation",
}


@dataclass(frozen=True)
class CheckFacts:
    """Fixed facts of a check: section, source, and the cheapest preset that includes it.

    ``descriptive`` checks say what is and never PASS, so that they cannot be required. ``definition`` counts what the
    claim has meant: it grows whenever its estimate, margin, interval or null changes, so that two reports are compared
    only where they mean the same. ``meaning`` tells a reader in one plain sentence why the claim matters.
    """

    name: str
    judge: Callable[..., Any]
    section: int
    preset: str
    source: str
    descriptive: bool = False
    definition: int = 1
    meaning: str = ""


CHECKS: Registry[CheckFacts] = Registry("checks", "check")


def check(
    *,
    section: int,
    source: str,
    preset: str = "quick",
    descriptive: bool = False,
    definition: int = 1,
    meaning: str = "",
) -> Callable[[Function], Function]:
    """Decorator that registers a check: a function that takes a study and returns findings.

    Args:
        section: Number of its section.
        source: Where definition and margin come from.
        preset: Cheapest preset that runs it.
        descriptive: Whether it only describes: it never PASSes, and cannot be required.
        definition: Version of the claim's definition, counted from 1.
        meaning: One plain sentence on what the claim means for a reader, true whatever the verdict.

    Raises:
        ValueError: The name is taken, or section or preset is unknown.
    """

    def register(function: Function) -> Function:
        name = function.__name__
        if section not in SECTION_TITLES or preset not in PRESETS:
            raise ValueError(f"check {name!r}: section {section} or preset {preset!r} is unknown")
        CHECKS.add(name, CheckFacts(name, function, section, preset, source, descriptive, definition, meaning))
        return function

    return register


PROBES: Registry[Callable[[ProbedCall], dict[str, Tensor]]] = Registry("probes", "probe")
"""Name to a function of one call: arrays ``(sequence, head)`` by name, none where the call has nothing of it."""
