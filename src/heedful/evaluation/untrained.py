"""Measure untrained models with the same statistics, as a null for claims about learning."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import nn

from heedful.attention.engines.moments import Extras
from heedful.distributed.ranks import ALONE, Ranks
from heedful.errors import ResourceLimit
from heedful.evaluation.evidence import Array, Evidence, Probe, collect
from heedful.evaluation.missing import mean_of
from heedful.evaluation.null_inputs import Repeats, fresh_models
from heedful.evaluation.null_models import Build, NoFreshModel
from heedful.evaluation.probes import row_statistics
from heedful.evaluation.query_probes import query_variation
from heedful.evaluation.running import device_of
from heedful.evaluation.token_probes import repeats, same_token
from heedful.loading.batch import Batch
from heedful.loading.memory import ensure_fits


def untrained_statistics(
    model: nn.Module,
    count: int,
    batches: Sequence[Batch],
    again: Repeats | None,
    seed: int,
    tick: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
    *,
    build: Build | None = None,
    paths: Sequence[str] = ("",),
    content: bool = False,
) -> dict[str, Array]:
    """Return head statistics of untrained models, averaged over sequences: name to ``(model, all heads)``.

    Args:
        model: The tested model.
        count: Fresh models.
        batches: The sequences that they read.
        again: Random repeats, whose first batch gives ``induction_mass``; or None.
        seed: Seed of the weights, and of the tokens that same-token attraction looks at.
        tick: Called after each model.
        ranks: Processes that divide the models; each fresh model is whole in one of them.
        build: What built the tested model, where that can be done again.
        paths: Attention modules, whose weights must differ from one built model to another.
        content: Whether the divergences of queries are wanted, too.

    Returns:
        Name to ``(model, all heads)``.

    Raises:
        NoFreshModel: The model cannot be built anew, or is divided over processes and does not fit whole into one.
    """
    if ranks.divide == "tensor":
        _ensure_memory(model, ranks)
    mine = ranks.own(range(count))
    found: dict[str, Array] = {}
    which = mine or [0]  # a rank without any learns the shapes of the others' arrays
    made = fresh_models(model, count, seed, which, build=build, paths=paths)
    for place, fresh in zip(which, made, strict=True):
        for name, value in _statistics(fresh, batches, again, seed, content).items():
            found.setdefault(name, np.zeros((count, *value.shape)))[place] = value
        tick()
    names = sorted(found)
    rows = np.isin(np.arange(count), mine)
    return dict(zip(names, ranks.merged([found[name] for name in names], rows), strict=True))


def _ensure_memory(model: nn.Module, ranks: Ranks) -> None:
    """Every rank must have room for a whole fresh model beside its part of the tested one, or none builds any."""
    size, device = sum(p.numel() * p.element_size() for p in model.parameters()), device_of(model)
    together = ranks.count if device.type == "cpu" else 1
    try:
        ensure_fits(size * together, "fresh models", device=str(device))
        message = ""
    except ResourceLimit as error:
        message = str(error)
    if not ranks.agree(not message):
        raise NoFreshModel(f"fresh models are built whole, one a process: {message or 'another process has no room'}")


UNTRAINED = "untrained models of the same config"

EXCESS = "_excess"
"""Ending of a statistic that is the divergence of lagged queries beyond that of the mean patterns."""


def excess_or(evidence: Evidence, name: str) -> Array:
    """Return the statistic ``name``, ``(sequence, all heads)``; if the name ends in ``EXCESS``, return the divergence
    minus the part that position explains.
    """
    if not name.endswith(EXCESS):
        return evidence.stacked(name)
    lag = name.removesuffix(EXCESS)
    return np.asarray(evidence.stacked(lag) - evidence.stacked(f"{lag}_by_position"))


def probes_of(seed: int, content: bool) -> list[Probe]:
    """Return the probes to run on untrained heads.

    Args:
        seed: Seed of the tokens that same-token attraction looks at.
        content: Whether the divergences of queries are wanted, too.
    """
    return [row_statistics, same_token(seed), *([query_variation] if content else [])]


def heads_of(found: dict[str, Array], content: bool) -> dict[str, Array]:
    """Return the statistics of ``found``; if ``content``, add for each lag the query divergence minus the part that
    position explains.
    """
    lags = ("adjacent", "distant") if content else ()
    return found | {f"{lag}{EXCESS}": found[lag] - found[f"{lag}_by_position"] for lag in lags}


def _statistics(
    fresh: nn.Module, batches: Sequence[Batch], again: Repeats | None, seed: int, content: bool
) -> dict[str, Array]:
    evidence = collect(fresh, batches, probes_of(seed, content), extras=Extras(contrast=True))
    names = [*evidence.layers[0].values, *(("adjacent_excess", "distant_excess") if content else ())]
    found = {name: mean_of(excess_or(evidence, name), axis=0) for name in names}
    if again is not None:
        repeated = collect(fresh, again.batches[:1], [repeats(again.periods, again.prefix)])
        found["induction_mass"] = mean_of(repeated.stacked("induction_mass"), axis=0)
    return found
