"""Claims of note 001 on attention by divergence of beliefs; ``python -m heedful.experiments.gauge`` measures."""

from heedful.experiments.gauge import explanations, remedies, uniformity

__all__ = ["explanations", "remedies", "uniformity"]
