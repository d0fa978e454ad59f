"""Names of array axes, each defined once.

======== =====================================================================
batch    sequences that went through the model together
head     query heads of one attention module
kv_head  key and value heads; ``head // (heads / kv_heads)`` is the one a head reads
query    positions that attend, in order
key      positions that are attended to, in order
dim      components of one head's query or key; ``value_dim`` those of a value
layer    attention modules in the order in which the model calls them
======== =====================================================================

Constants here are the conventions that several rooms must share.
"""

LOCAL_DISTANCE = 5
"""Keys at most this far from the query count as local (statistics of positional patterns)."""

LAGS = (1, 10)
"""Distances between two queries whose rows are compared: adjacent and distant."""

MIN_VISIBLE = 8
"""Rows that see fewer keys are not judged: one or two keys cannot be shared unevenly in an interesting way."""

DISTANCE_EDGES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
"""Lower edges of the distance bins of ``distance_mass``: 0, 1, 2-3, 4-7, ... keys away; the last bin is open."""


def distance_label(index: int, last: int) -> str:
    """Return the text of a distance bin, such as ``4-7``; the last bin is open-ended.

    Args:
        index: Index into ``DISTANCE_EDGES``.
        last: Index of the farthest bin in use.
    """
    low = DISTANCE_EDGES[index]
    if index + 1 >= len(DISTANCE_EDGES) or index == last:
        return f"{low}+"
    high = DISTANCE_EDGES[index + 1] - 1
    return str(low) if low == high else f"{low}-{high}"
