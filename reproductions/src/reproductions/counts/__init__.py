"""Claims of notes 000 and 003 on attention derived from n-gram counts; ``python -P -m reproductions.counts``
measures.
"""

from reproductions.counts import agreeing, fixes, geometry, losing, scales, solving, spectrum, training

__all__ = ["agreeing", "fixes", "geometry", "losing", "scales", "solving", "spectrum", "training"]
