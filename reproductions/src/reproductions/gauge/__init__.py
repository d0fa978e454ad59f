"""Claims of note 001 on attention by KL divergence of beliefs, and of note 004 on thresholds.

``python -P -m reproductions.gauge`` measures what the former need.
"""

from reproductions.gauge import explanations, remedies, thresholds, uniformity

__all__ = ["explanations", "remedies", "thresholds", "uniformity"]
