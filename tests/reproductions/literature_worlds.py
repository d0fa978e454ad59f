"""Made-up measurements of trained models: a world in which the papers are right of them, and one where they are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

DOCUMENTS, LAYERS, HEADS = 20, 6, 4


def write_world(folder: Path, as_claimed: bool) -> None:
    """Write every measurement that the claims ask for.

    Args:
        folder: Where.
        as_claimed: Whether the papers are right.
    """
    for name, document in world(as_claimed).items():
        (folder / f"literature-{name}.json").write_text(json.dumps(document))


def world(yes: bool) -> dict[str, Any]:
    """Name to measurement."""
    return {**of_positions(yes), **of_heads(yes)}


def about(value: float, *more: int) -> Any:
    """A number a document near a value."""
    noise = np.random.default_rng(round(abs(value) * 1000) % 1000).standard_normal((DOCUMENTS, *more))
    return (value + 0.01 * abs(value) * noise).tolist()


def of_positions(yes: bool) -> dict[str, Any]:
    """Sinks, windows, massive activations, induction."""

    def pick(right: float, wrong: float, *more: int) -> Any:
        return about(right if yes else wrong, *more)

    heads = [[3, 0], [3, 1]]
    return {
        "sinks": {
            "text_by_layer": pick(0.5, 0.1, LAYERS),
            "newline_by_layer": pick(0.5, 0.02, LAYERS),
            "random_by_layer": pick(0.5, 0.02, LAYERS),
            "text_sinks": about(0.6),
            "random_sinks": pick(0.5, 0.02),
            "sink_heads": 9,
            "value_ratio": pick(-1.5, 0.1),
        },
        "windows": {"all": about(3.0), "last": pick(5.0, 3.1), "first_and_last": pick(3.05, 3.6)},
        "massive": {
            "largest": pick(2000.0, 20.0),
            "over_median": pick(9000.0, 30.0),
            "at_first": about(1.0),
            "in_same_dim": [1.0 if yes else 0.1] * DOCUMENTS,
            "spread": pick(0.02, 0.8),
            "layer": 2,
            "dims": [5],
            "intact": about(3.0),
            "zero": pick(9.0, 3.001),
            "mean": about(3.0) if yes else about(5.0),
            "others_zero": about(3.0) if yes else about(4.0),
        },
        "induction": {
            "induction_heads": heads,
            "previous_heads": heads,
            "heads": LAYERS * HEADS,
            "repeats_intact": about(3.0),
            "repeats_without_induction": pick(10.0, 3.0),
            "repeats_without_others": about(3.1),
            "text_intact": about(-0.5),
            "text_without_induction": pick(-0.01, -0.5),
            "text_without_others": about(-0.5),
            "mass_intact": about(0.7),
            "mass_without_previous": pick(0.1, 0.7),
            "mass_without_others": about(0.68),
        },
    }


def of_heads(yes: bool) -> dict[str, Any]:
    """Heads that are left out, that retrieve, and those of an encoder."""

    def pick(right: float, wrong: float, *more: int) -> Any:
        return about(right if yes else wrong, *more)

    layer = np.repeat(np.arange(LAYERS), HEADS)
    norms = np.arange(1.0, 1 + len(layer))
    entropy = (1 - norms / 40 if yes else norms / 40) + 0.01 * np.random.default_rng(0).random((DOCUMENTS, len(norms)))
    scores = np.zeros((DOCUMENTS, 40))
    scores[:, : 1 if yes else 8] = 0.5
    alone = [{"head": [0, head], "losses": about(3.0 if yes else 3.4)} for head in range(20)]
    heads = [[3, 0], [3, 1]]
    return {
        "pruning": {
            "heads": LAYERS * HEADS,
            "intact": about(3.0),
            **{f"least_{share:g}": pick(3.0, 6.0) for share in (0.1, 0.2, 0.4)},
            "random_0.2": about(4.0),
            "alone": alone,
            "constant_half": pick(3.0, 6.0),
            "constant_all": pick(3.05, 9.0),
        },
        "dormant": {
            "dormant": heads,
            "intact": about(3.0),
            "without": pick(3.0, 4.0),
            "without_others": about(4.0),
        },
        "retrieval": {
            "retrieval_heads": heads,
            "left_out": heads,
            "score_held": scores.tolist(),
            "copied_intact": about(0.8),
            "copied_without": pick(0.1, 0.8),
            "copied_without_others": pick(0.79, 0.3),
        },
        "entropy": {"entropy": entropy.tolist(), "spectral_norm": norms.tolist(), "layer": layer.tolist()},
        "encoder": {
            "heads": HEADS,
            "separator_by_layer": pick(0.7, 0.1, LAYERS),
            "separator_value": pick(-1.5, 0.2),
            **{f"{name}{part}": pick(0.8, 0.1, 8) for name in ("before", "after") for part in ("", "_named")},
        },
    }
