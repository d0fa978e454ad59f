"""Small tables as a tracker writes them, with known directions."""

from pathlib import Path
from typing import Any

from heedful.monitoring.tracker.table import TrackTable

STEPS = (0, 10, 20, 30, 40)


def rows_at(step: int, layers: int, stages: tuple[str, ...], dims: tuple[int, ...]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for layer in range(layers):
        for head in range(2):
            wobble = 0.01 * head
            rise = 0.02 * step * (layer + 1) - 0.05 * step * (layer == 0)
            key = {
                "norm_mean": 8.0 + rise + wobble * step / 10,
                "largest_share": 0.1 + 0.01 * step + wobble,
                "global_max": 4.0 + 0.1 * step,
                "cosine": 0.1 + 0.01 * step + wobble,
                "centred_cosine": 0.001 * head,
                "participation_null": (dims[layer % len(dims)] + 2) / 3,
                "vectors": 512.0,
                "pairs": 32512.0,
            }
            place = {"layer": layer, "head": head, "module": f"m{layer}"}
            found += [place | {"part": "key", "stage": stage} | key for stage in stages]
        for head in range(4):
            spread = 1.0 + 0.1 * layer + 0.02 * head + 0.01 * step
            entropy = {"entropy_share": 1.2 - 0.3 * spread, "logit_sd": spread}
            found.append({"layer": layer, "head": head, "module": f"m{layer}", "part": "attention"} | entropy)
        gain = {"gain_norm": 8.0 - 0.01 * step, "gain_decay": 8.0 - 0.05 * step}
        found.append({"layer": layer, "module": f"m{layer}", "part": "key_gain"} | gain)
    return found


def write(
    run: Path,
    steps: tuple[int, ...] = STEPS,
    layers: int = 9,
    stages: tuple[str, ...] = ("before", "after"),
    dims: tuple[int, ...] = (64,),
) -> Path:
    table = TrackTable(run)
    for step in steps:
        table.add(step, rows_at(step, layers, stages, dims))
    table.close()
    return run
