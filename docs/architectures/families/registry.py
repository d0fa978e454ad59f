"""All rows of the page."""

from __future__ import annotations

from architectures.case import Case
from architectures.families import hybrids, mixed, packages, pieces, plain, sound, text, translation, vision

FAMILIES = (text, translation, vision, hybrids, plain, sound, mixed, pieces, packages)


def cases() -> dict[str, Case]:
    """Name to row, in the order of the alphabet."""
    found = [case for family in FAMILIES for case in family.CASES]
    return {case.name: case for case in sorted(found, key=lambda case: case.name.lower())}
