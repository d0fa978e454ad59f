"""Made-up measurements: a world in which the note's claims on keys hold, and one in which none does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from heedful.monitoring.tracker.table import TrackTable

LAYERS, KEYS, QUERIES = 22, 2, 4
STEPS = (1, 100, 1000)


def profile(layer: int, step: int, held: bool) -> float:
    """Norm of a layer's keys: at 8, at 7.1, then 3 to 4 in the first layers and rising from 6 to 12 in the others."""
    if step == 1:
        return 8.0
    if step == 100:
        return 7.1
    return 3.0 + 0.3 * layer if layer < 4 else 6.0 + 0.34 * (layer - 4)


def rows(step: int, as_claimed: bool, *, shift: float = 0.0) -> list[dict[str, Any]]:
    """One record; noise is fixed, so that intervals have a width."""
    draw = np.random.default_rng(step)
    last, found = step == STEPS[-1], []
    for layer in range(LAYERS):
        deep = layer >= 9
        moved = 0.5 if step == 100 else 0.0 if not last else 0.3 if layer < 4 else -0.3
        norm = profile(layer, step, held=False) if as_claimed else 8.1 + 0.001 * layer + moved
        for head in range(KEYS):
            noise = float(draw.normal()) * 0.01
            values = {
                "norm_mean": norm + noise,
                "largest_share": (0.9 if as_claimed and last else 0.11) + noise + shift,
                "global_max": (9.0 if as_claimed and last else 3.5) + noise,
                "participation": (5.0 if as_claimed and last else 22.0) + noise,
                "participation_null": 22.0,
                "cosine": (0.7 if deep and last else 0.03 if as_claimed else 0.9) + noise / 10
                if as_claimed or last
                else 0.9 + noise,
                "centred_cosine": (0.7 if as_claimed and deep and last else 0.0) + noise,
                "effective_rank": 8.0,
                "vectors": 512.0,
            }
            if not as_claimed and last and deep:
                values["cosine"] = 0.1 + noise
            for stage in ("before", "after"):
                turned = values if as_claimed or stage == "before" else values | {"cosine": values["cosine"] - 0.2}
                found.append({"part": "key", "stage": stage, "layer": layer, "head": head, **turned})
        sharp = norm if as_claimed else 8 - 0.02 * layer
        for head in range(QUERIES):
            entropy = 0.98 - 0.082 * (sharp - 2) if as_claimed else 0.3 + 0.02 * layer
            sink = 0.6 if as_claimed and deep and last else 0.02
            noise = float(draw.normal()) * 0.001
            attention = {"entropy_share": entropy + noise, "sink_mass": sink + noise, "max_weight": 0.5}
            attention["logit_sd"] = sharp if as_claimed else layer * 0.1 + 1
            found.append({"part": "attention", "layer": layer, "head": head, **attention})
        gain = 6.5 if as_claimed else 7.2
        found.append(
            {"part": "key_gain", "layer": layer, "gain_norm": gain + 0.01 * float(draw.normal()), "gain_decay": 7.1}
        )
    return found


def write_run(folder: Path, as_claimed: bool, *, shift: float = 0.0, loss: float = 4.0, penalty: float = 0.0) -> None:
    """A run with its heads, its settings and its loss."""
    for name in ("", "heads", "rescaled"):
        table = TrackTable(folder / name)
        for step in STEPS if not name else STEPS[-1:]:
            table.add(step, rows(step, as_claimed, shift=shift))
        table.close()
    (folder / "held_out.json").write_text(json.dumps({"held_out_loss": loss}))
    (folder / "run.json").write_text(json.dumps({"settings": {"max_share_penalty": penalty}}))


def write_world(folder: Path, as_claimed: bool) -> None:
    """Everything that claims on keys ask for."""
    write_run(folder / "note-0", as_claimed)
    write_run(folder / "pretrained", as_claimed)
    for seed in range(3):
        jitter = 0.001 * seed
        write_run(folder / f"twin-decay-{seed}", as_claimed)
        write_run(folder / f"twin-held-{seed}", as_claimed)
        write_run(folder / f"tiny-decay-{seed}", as_claimed)
        for arm, penalty in (("low", 0.01), ("high", 0.1), ("held", 0.0)):
            loss = 4.0 if as_claimed else 4.4
            fewer = (-0.05 if as_claimed else 0.05) + (0.1 if arm == "held" and not as_claimed else 0.0)
            write_run(
                folder / f"tiny-{arm}-{seed}", as_claimed, shift=fewer + jitter, loss=loss + jitter, penalty=penalty
            )
    error = 0.01 if as_claimed else 0.2
    (folder / "ten-pairs.json").write_text(json.dumps({"error_by_layer": [error, 1.1 * error, 1.2 * error]}))
    (folder / "pruned-layers-note.json").write_text(json.dumps(pruned(as_claimed, last=0.002 if as_claimed else 0.5)))
    for model in ("pretrained", "embedded"):
        for name, document in (("quantized", quantized(as_claimed)), ("pruned-layers", pruned(as_claimed))):
            (folder / f"{name}-{model}.json").write_text(json.dumps(document))
        (folder / f"pruned-dimensions-{model}.json").write_text(json.dumps(pruned(as_claimed)))


def effect(estimate: float) -> dict[str, float]:
    """An effect as the commands write it."""
    return {"estimate": estimate, "low": estimate - 0.001, "high": estimate + 0.001, "n": 24}


def quantized(as_claimed: bool) -> dict[str, Any]:
    """Clipping and four bits cost much; or clipping costs nothing, and four bits do."""
    tried = {(None, "tensor", 99.9): 0.4 if as_claimed else 0.0, (4, "tensor", None): 0.5, (8, "tensor", None): 0.0}
    return {
        "trials": [
            {"bits": bits, "group": group, "clip": clip, "quantized": {"loss": effect(cost)}}
            for (bits, group, clip), cost in tried.items()
        ]
    }


def pruned(as_claimed: bool, last: float | None = None) -> dict[str, Any]:
    """Layers with redundant keys and half of the dimensions are free; or they cost as much as a random choice."""
    cost = 0.002 if as_claimed else 0.3

    def curve(part: str, ranking: str, loss: float) -> dict[str, Any]:
        point = {"fraction": 0.5, "removed": 3, "loss": effect(loss), "orders": [loss, loss]}
        return {"part": part, "ranking": ranking, "points": [point]}

    layers = [
        {
            "part": "layers",
            "price": effect(last if last is not None and layer >= 9 else 0.01 * layer if as_claimed else 0.1),
            "effective_rank": effect(3.0 + layer),
        }
        for layer in range(12)
    ]
    saved = {"part": "layers", "ranking": "effective rank", "fraction": 0.5, "saved": effect(0.3 - cost), "p": 0.05}
    related = {"x": "effective_rank", "under": "layers", "items": 12, **effect(0.9 if as_claimed else -0.9), "p": 0.01}
    return {
        "labels": {"right": effect(3.0), "fed": effect(9.0)},
        "curves": [
            curve("layers", "effective rank", cost),
            curve("dimensions", "contribution", cost),
            curve("dimensions", "random", 0.3),
        ],
        "savings": [saved],
        "correlations": [related],
        "units": layers,
    }
