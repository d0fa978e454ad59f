"""Claims of note 001 on attention by KL divergence of beliefs; ``python -P -m reproductions.gauge`` measures."""

from reproductions.gauge import explanations, remedies, uniformity

__all__ = ["explanations", "remedies", "uniformity"]
