"""The same statistics of models that have learned nothing: what a claim about learning must exceed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import nn

from heedful.engine import Extras
from heedful.study.evidence import Array, collect
from heedful.study.missing import mean_of
from heedful.study.probes import row_statistics
from heedful.study.running import Batch
from heedful.study.token_probes import repeats, same_token
from heedful.study.variants import Repeats, fresh_models


def untrained_statistics(
    model: nn.Module,
    count: int,
    batches: Sequence[Batch],
    again: Repeats | None,
    seed: int,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Array]:
    """Statistics of fresh models of the same config, mean over sequences.

    Args:
        model: The tested model.
        count: Fresh models.
        batches: The sequences that they read.
        again: Random repeats, whose first batch gives ``induction_mass``; or None.
        seed: Seed of the weights, and of the tokens that same-token attraction looks at.
        tick: Called after each model.

    Returns:
        Name to ``(model, all heads)``.

    Raises:
        NoFreshModel: The model cannot be built anew.
    """
    parts: dict[str, list[Array]] = {}
    for fresh in fresh_models(model, count, seed):
        evidence = collect(fresh, batches, [row_statistics, same_token(seed)], extras=Extras(contrast=True))
        found = {name: mean_of(evidence.stacked(name), axis=0) for name in evidence.layers[0].values}
        if again is not None:
            repeated = collect(fresh, again.batches[:1], [repeats(again.periods, again.prefix)])
            found["induction_mass"] = mean_of(repeated.stacked("induction_mass"), axis=0)
        for name, value in found.items():
            parts.setdefault(name, []).append(value)
        tick()
    return {name: np.stack(values) for name, values in parts.items()}
