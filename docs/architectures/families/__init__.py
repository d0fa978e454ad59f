"""The architectures, a file for each sort of input."""

from architectures.families.registry import cases

__all__ = ["cases"]
