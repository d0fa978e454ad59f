"""Claims of note 002 on keys in training, one noun a file; ``python -m heedful.experiments.keys`` measures."""

from heedful.experiments.keys import norms, outliers, redundancy, smaller, temperature, uses

__all__ = ["norms", "outliers", "redundancy", "smaller", "temperature", "uses"]
