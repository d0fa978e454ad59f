"""Made-up measurements of derived attention: a world in which both notes are right, and one in which they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars

SCALES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
UNITS = ("one-0", "one-1", "two-0", "three-0", "four-0", "five-0", "six-0")
AFFINITIES = ("probability", "sqrt_probability", "degree_regularised", "residual", "pmi", "ppmi", "log_probability")

STRUCTURE: dict[str, tuple[float, float]] = {
    "density": (0.22, 0.9),
    "asymmetry": (1.0, 0.0),
    "rank": (80.0, 40.0),
    "condition": (2.0, 90.0),
    "condition_inverted": (0.5, 0.01),
    "orthogonality": (1e-9, 0.1),
    "residual": (1e-9, 0.1),
    "singular_1": (0.02, 1.0),
    "singular_2": (0.02, 0.9),
    "singular_4": (0.02, 0.8),
    "singular_end_1": (0.01, 0.02),
    "singular_end_2": (0.01, 0.02),
    "left_mean": (0.0, 0.0),
    "right_mean": (0.0, 0.0),
    "random_mean": (0.0, 0.0),
    "left_in_span": (0.01, 1.0),
    "frequency_cosine": (0.0, 1.0),
    "leading_overlap": (0.1, 0.6),
    "leading_chance": (0.094, 0.094),
    "query_std": (0.025, 0.9),
    "key_std": (0.025, 0.9),
    "column_cosine": (0.12, 0.5),
    "column_cosine_other_basis": (0.12, 0.9),
    "scores_moved": (0.0, 0.0),
    "product_mean": (0.0, 0.0),
    "product_largest": (1.0, 9.0),
    "product_first": (0.01, 1.0),
    "product_end": (0.003, 0.003),
    "correlation": (0.02, 0.75),
    "correlation_orthonormal": (0.02, 1.0),
    "correlation_least_squares": (0.02, 1.0),
    "correlation_replaced": (0.0, 0.0),
    "correlation_similarity": (0.9, 0.1),
    "spread": (0.03, 0.03),
    "spread_orthonormal": (0.01, 0.06),
    "size_ratio_tenth": (0.1, 1.0),
    "size_ratio_without_values": (3.0, 0.8),
    "ngram_to_token": (1.0, 0.5),
    "ngram_same_last": (0.01, 1.0),
    "ngram_other_last": (0.05, 0.05),
    "apart_std": (0.06, 0.06),
}
"""Number of the matrix to its value where the notes are right, and where they are not."""

TRAINED_SKILL = {True: 0.9, False: -6.0}
"""Of the first layer at the end, where embeddings learn."""

HEADS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "published_divergence": ((0.85, 3.0), (0.85, 3.0)),
    "published_cosine": ((0.61, 0.1), (0.61, 0.1)),
    "published_match": ((0.13, 0.9), (0.13, 0.9)),
    "chance": ((0.2, 0.2), (0.2, 0.2)),
    "match": ((0.05, 0.3), (0.05, 0.3)),
    "uniform_cosine": ((0.5, 0.7), (0.5, 0.7)),
}
"""Measure of a head to its value in both worlds, in the first layer and in deeper ones."""

ARMS: dict[tuple[str, str], tuple[float, float]] = {
    ("model", "published"): (0.8, 0.8),
    ("model", "published, best temperature"): (0.3, 0.8),
    ("model", "published, raw"): (0.3, 3.0),
    ("model", "kept"): (0.3, 0.9),
    ("model", "kept, best temperature"): (0.3, 0.9),
    ("model", "kept, raw"): (0.3, 3.0),
    ("model", "corrected"): (0.05, 0.001),
    ("affinity", "normalised"): (0.015, 0.3),
    ("affinity", "normalised, rank 64"): (0.1, 0.3),
    ("affinity", "symmetrised"): (0.005, 0.4),
    ("unseen", "log_probability_backoff"): (0.1, 0.7),
    ("unseen", "normalised"): (0.3, 0.3),
    ("pairs", "kept, best temperature"): (0.79, 0.1),
    ("pairs", "log P, last token"): (0.6, 0.3),
    ("pairs", "log P, both tokens"): (0.3, 0.6),
    ("pairs", "looked up"): (0.1, 0.1),
    ("pairs", "looked up, unseen counts"): (0.2, 0.7),
    **{("affinity", name): (0.3, 0.3) for name in AFFINITIES},
    **{("embedding", f"likeness {width}"): (0.2, 0.8) for width in (64, 256)},
    **{("embedding", f"random_unit {width} {word}"): (0.6, 0.1) for width in (16, 32, 256) for word in ("M", "log P")},
    **{("embedding", f"normalised_factors {width} M"): (0.1, 0.6) for width in (16, 32)},
    **{("embedding", f"log_probability_factors {width} log P"): (0.1, 0.6) for width in (16, 32)},
    ("embedding", "ppmi_vectors 256 M"): (0.1, 0.6),
}
"""Part and variant to its divergence in both worlds; that of uniform attention is .8."""


def rows(as_claimed: bool) -> list[dict[str, Any]]:
    """One unit's rows, without noise."""
    world, found = (0 if as_claimed else 1), []

    def add(part: str, measure: str, value: float, **where: Any) -> None:
        place = {"arm": "", "std": None, "layer": None, "head": None} | where
        found.append({"part": part, "measure": measure, "value": value} | place)

    for name, values in STRUCTURE.items():
        add("structure", name, values[world])
    for name, values in {
        "similarity_mean": (0.0145, 0.3),
        "similarity_std": (0.124, 0.9),
        "apart_mean": (0.0, 0.0),
    }.items():
        add("structure", name, values[world], arm="seed 42")
    for (part, arm), values in ARMS.items():
        shown = values if (part, arm) != ("affinity", "log_probability") else (-0.02, 0.5)
        matched = (0.1, 0.9) if arm in ("corrected", "normalised") else (0.5, 0.5)
        numbers = {"divergence": shown[world], "uniform": 0.8, "factor": 2.0, "chance": 0.2, "match": matched[world]}
        for name, value in numbers.items():
            add(part, name, value, arm=arm)
    add("affinity", "identity_error", 1e-16, arm="log P")
    for arm in ("published", "kept"):
        for place, std in enumerate(SCALES):
            for layer in range(4):
                for name, value in sweep(as_claimed, place, std, layer).items():
                    add("sweep", name, value, arm=arm, std=std, layer=layer)
                for name, value in head(as_claimed, place, layer, arm).items():
                    add("heads", name, value, arm=arm, std=std, layer=layer, head=0)
    return found


def sweep(as_claimed: bool, place: int, std: float, layer: int) -> dict[str, float]:
    """A layer at a scale: sharper with it as claimed; flat, then the other way round, where not."""
    if not as_claimed:
        size = {"raw_score": std, "logit": 100 * std, "moved": 0.0, "query_key_cosine": 0.1}
        return size | {"entropy": 1.4 + 0.1 * place, "of_ceiling": 0.4, "of_last_row": 0.3, "largest": 0.2}
    entropy = 2.549 * (1 - place / 8) if place else 2.549
    share = {0: 0.995, 1: 0.99, 2: 0.995}.get(place, 0.95)
    size = {"raw_score": std**2, "logit": std**2, "moved": 0.5, "query_key_cosine": 0.014}
    largest = 0.127 + 0.09 * min(place, 4) + 0.2 * max(0, place - 4)
    shares = {"of_ceiling": share, "of_last_row": 0.65, "largest": min(0.99, largest)}
    return size | shares | {"entropy": entropy}


def head(as_claimed: bool, place: int, layer: int, arm: str) -> dict[str, float]:
    """A head at a scale: as claimed it agrees from .05 on, and deeper layers agree less."""
    first, deeper = (0.7, 0.5) if as_claimed else (0.5, 0.7)
    found = {name: values[0 if layer == 0 else 1][0 if as_claimed else 1] for name, values in HEADS.items()}
    if as_claimed:
        divergence = 0.81 if place < 3 else 0.75 if place in (3, 8) else 0.3
        divergence = 0.9 if arm == "published" and place == 2 and layer == 0 else divergence
    else:
        divergence = 0.8 if arm == "published" and place < 3 else 0.4 if place < 3 else 5.0 + place
    step = 0.02 * layer if as_claimed else -0.02 * layer
    cosine = (first if layer == 0 else deeper) - step / 2
    return found | {"divergence": divergence + step, "uniform": 0.8, "cosine": cosine}


def write_world(folder: Path, as_claimed: bool) -> None:
    """The table that every claim asks for; units differ a little, so that intervals have a width."""
    every = [
        row | {"unit": unit, "value": row["value"] * (1 + 1e-4 * (number - 1.5))}
        for number, unit in enumerate(UNITS)
        for row in rows(as_claimed)
    ]
    polars.DataFrame(every, infer_schema_length=None).write_parquet(folder / "counts.parquet")
    write_trained(folder, as_claimed)


def write_trained(folder: Path, as_claimed: bool) -> None:
    """Losses of trained models and drift of embeddings, as the one note or the other world has them."""
    losses = []
    for seed in range(3):
        for place in range(20):
            base = 2.0 + 0.1 * place + 0.01 * seed
            for cell in ("published, none", "published, kept, none", "one layer, none", "all learnt, none",
                         "content, frozen", "content, embeddings learnt", "content, embeddings linked",
                         "published, kept", "one layer, offset", "published"):  # fmt: skip
                worse = 0.3 if cell == "published" and not as_claimed else 0.001 * (place % 3)
                losses.append({"cell": cell, "seed": seed, "document": f"d{place}", "loss": base + worse})
    polars.DataFrame(losses).write_parquet(folder / "trained_losses.parquet")
    drift = [
        {
            "cell": cell,
            "seed": seed,
            "step": step,
            "layer": layer,
            "head": head,
            "skill": found,
            "skill_low": found - 0.1,
            "skill_high": found + 0.1,
        }
        for cell in ("content, embeddings learnt", "content, embeddings linked")
        for seed in range(3)
        for layer in range(2)
        for head in range(2)
        for step, found in ((0, 0.5), (300, 0.0 if layer else TRAINED_SKILL[as_claimed] + 0.01 * seed))
    ]
    polars.DataFrame(drift).write_parquet(folder / "trained_drift.parquet")
