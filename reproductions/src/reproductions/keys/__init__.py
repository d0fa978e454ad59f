"""Claims of note 002 on keys during training, one topic per file; ``python -P -m reproductions.keys`` measures."""

from reproductions.keys import norms, outliers, redundancy, smaller, temperature, uses

__all__ = ["norms", "outliers", "redundancy", "smaller", "temperature", "uses"]
