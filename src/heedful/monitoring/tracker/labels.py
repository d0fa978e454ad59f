"""Label each head by what it attends to, from the means of one recorded step."""

from __future__ import annotations

import math
from collections.abc import Mapping

SINK = 0.3
"""Mass on the first key at which a head is called a sink (Gu et al. 2024, arXiv:2410.10781)."""

PATTERN = 0.4
"""Mass at which a named pattern is strong."""

DIFFUSE = 0.05
"""Nats from uniform below which a head is diffuse: just beyond untrained models."""

SHARP = 0.5
"""Largest weight from which a head is sharp, whatever it looks at."""


def head_label(values: Mapping[str, float]) -> str:
    """Return the first label that applies: sink, previous, self, local, sharp, diffuse; else mixed.

    Args:
        values: Means of a head: ``sink_mass``, ``previous_mass``, ``self_mass``, ``local_mass``, ``max_weight``,
            ``concentration``.

    Returns:
        One word; ``undefined`` where no row could be judged.
    """
    if math.isnan(values["concentration"]):
        return "undefined"
    if values["concentration"] < DIFFUSE:
        return "diffuse"
    named = {
        "sink": values["sink_mass"] > SINK,
        "previous": values["previous_mass"] > PATTERN,
        "self": values["self_mass"] > PATTERN,
        "local": values["local_mass"] > 2 * PATTERN,
        "sharp": values["max_weight"] > SHARP,
    }
    return next((word for word, holds in named.items() if holds), "mixed")
