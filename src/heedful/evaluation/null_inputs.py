"""Prepare inputs for null comparisons: untrained models, shuffled tokens, repeated random tokens.

Rebuild a model with the user's function, and check that architecture is equal and weights differ.

Measure untrained models with the same statistics, as a null for claims about learning.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from heedful.attention.engines.moments import Extras
from heedful.distributed.ranks import ALONE, Ranks
from heedful.errors import HeedfulError, ResourceLimit
from heedful.evaluation.evidence import Array, Evidence, Probe, collect
from heedful.evaluation.probes import query_variation, repeats, row_statistics, same_token
from heedful.evaluation.running import device_of
from heedful.evaluation.settings import LONGEST_PERIOD, SHORTEST_PERIOD
from heedful.inference.units import mean_of
from heedful.loading.batch import Batch
from heedful.loading.memory import ensure_fits


def fresh_models(
    model: nn.Module,
    count: int,
    seed: int,
    which: Sequence[int] | None = None,
    *,
    build: Build | None = None,
    paths: Sequence[str] = ("",),
) -> Iterator[nn.Module]:
    """Yield untrained models of the same architecture and initialisation, one at a time.

    What a function of the user's built is built by it again, with other seeds. A transformers model is built from its
    config, or from its ``untrained_config()`` where a part of the config is true of its own weights alone; another
    module is copied and every submodule's ``reset_parameters`` called, which must reach every entry of every parameter.

    Args:
        model: The tested model.
        count: How many there are.
        seed: Seed of their weights.
        which: Which of them are built; None for all.
        build: What built the tested model, where that can be done again.
        paths: Attention modules, whose weights must differ from one built model to another.

    Raises:
        NoFreshModel: Neither is possible.
    """
    first = next(model.parameters(), None)
    if first is None:
        raise NoFreshModel("the model has no parameters")
    wanted = range(count) if which is None else which
    if build is not None:
        start = seed * 9973 + 1  # never the tested model's own seed
        ensure_random(build, model, (start, start + count), paths)
        for index in wanted:
            yield null_model(model, build, start + index).to(device_of(model)).eval()
        return
    config = getattr(model, "config", None)
    for index in wanted:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * 9973 + index)
            fresh = _from_config(model, config) if hasattr(config, "to_dict") else _reset_copy(model)
        yield fresh.to(device=device_of(model), dtype=first.dtype).eval()


def _from_config(model: nn.Module, config: object) -> nn.Module:
    untrained = getattr(model, "untrained_config", None)
    try:
        return type(model)(untrained() if callable(untrained) else copy.deepcopy(config))
    except Exception as error:
        raise NoFreshModel(f"{type(model).__name__} cannot be built from its config: {error}") from error


def _reset_copy(model: nn.Module) -> nn.Module:
    fresh = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in fresh.parameters():
            if parameter.is_floating_point():
                parameter.fill_(math.nan)  # whatever is still NaN afterwards was not reset
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if callable(reset):
                reset()
    missed = sorted(name for name, parameter in fresh.named_parameters() if bool(parameter.isnan().any()))
    if missed:
        raise NoFreshModel(f"no reset_parameters reaches {', '.join(missed[:3])} ({len(missed)} in all)")
    return fresh


def shuffled(batch: Batch, seed: int) -> Batch:
    """Return the batch with ordinary tokens permuted within each sequence; special tokens and padding stay."""
    ids = batch.input_ids.clone()
    for row, index in enumerate(batch.index.tolist()):
        generator = torch.Generator().manual_seed(seed * 104729 + index)
        free = (batch.attention_mask[row].bool() & ~batch.special[row]).nonzero()[:, 0]
        ids[row, free] = ids[row, free[torch.randperm(len(free), generator=generator).to(free.device)]]
    return replace(batch, input_ids=ids, punctuation=torch.zeros_like(batch.punctuation))


@dataclass(frozen=True)
class Repeats:
    """Sequences of random tokens in which a segment repeats, with a different period in each sequence.

    Attributes:
        batches: The sequences.
        periods: ``(sequence,)`` period of each.
        prefix: Special tokens before the repeats.
        copies: ``(sequence,)`` copies of its tokens that each holds, the last one perhaps in part.
    """

    batches: list[Batch]
    periods: Tensor
    prefix: int
    copies: Tensor

    @property
    def description(self) -> str:
        """Periods and number of copies as text."""
        periods, copies = (_range(values) for values in (self.periods, self.copies))
        return f"random tokens repeated with periods of {periods}, {copies} copies"


def _range(values: Tensor) -> str:
    least, most = int(values.min()), int(values.max())
    return f"{least}" if least == most else f"{least} to {most}"


def repeated(
    batches: list[Batch],
    count: int,
    seed: int,
    *,
    periods: tuple[int, int] = (SHORTEST_PERIOD, LONGEST_PERIOD),
    copies: int | None = None,
) -> Repeats | None:
    """Return repeated random sequences with the length, special prefix and vocabulary of ``batches``; None if the
    sequences are too short or have too few different tokens.

    The tokens of a period are drawn without repetition from the ordinary tokens that occur in the text, so that a token
    comes back a period later and never before.

    Args:
        batches: The study's sequences.
        count: Sequences wanted.
        seed: Seed of periods and tokens.
        periods: Shortest and longest period, each sequence having its own.
        copies: Copies of a period in a sequence; None for as many as the study's sequences have room for.

    Returns:
        None where the sequences are too short to repeat twice, or the text has fewer than 16 different tokens.
    """
    generator = torch.Generator().manual_seed(seed * 15485863 + 1)
    like = batches[0]
    ids = torch.cat([batch.input_ids[batch.attention_mask.bool() & ~batch.special] for batch in batches]).unique()
    prefix = int((like.special[0].long().cumprod(0)).sum()) if like.special.numel() else 0
    length = like.input_ids.shape[1]
    room = length - prefix
    longest = min(periods[1], room // (copies or 2), len(ids))
    if longest < periods[0] or len(ids) < 2 * SHORTEST_PERIOD:
        return None
    drawn = torch.randint(periods[0], longest + 1, (count,), generator=generator)
    rows, ends = [], []
    for period in drawn.tolist():
        cycle = ids.cpu()[torch.randperm(len(ids), generator=generator)[:period]]
        body = cycle.repeat(length // period + 2)[:room]
        rows.append(torch.cat([like.input_ids[0, :prefix].cpu(), body]))
        ends.append(min(room, period * copies) if copies else room)
    until = torch.tensor(ends) + prefix
    stacked = torch.stack(rows).to(like.input_ids.device)
    size = len(like.input_ids)
    made = []
    for start in range(0, count, size):
        part = stacked[start : start + size]
        special = torch.zeros_like(part, dtype=torch.bool)
        special[:, :prefix] = True
        index = torch.arange(start, start + len(part))
        real = (torch.arange(length) < until[index, None]).to(part)
        made.append(Batch(part, real, index, special, torch.zeros_like(special)))
    return Repeats(made, drawn, prefix, -((prefix - until) // drawn))


Build = Callable[[int], nn.Module]
"""Builds a model with random weights from a seed."""


class NoFreshModel(Exception):
    """The model's class cannot be rebuilt with random weights; the message gives the reason."""


def null_model(model: nn.Module, build: Build, seed: int) -> nn.Module:
    """Return a model of the same architecture, with random weights drawn with ``seed``.

    Args:
        model: The tested model.
        build: What built it.
        seed: Seed of the weights.

    Raises:
        NoFreshModel: It cannot be built a second time, is the tested model itself, or is of another architecture.
    """
    try:
        fresh = build(seed)
    except HeedfulError as error:
        raise NoFreshModel(f"the factory built one model and not a second: {error}") from error
    if fresh is model:
        raise NoFreshModel("the factory returns the same model again instead of building one")
    one, other = ({name: tuple(t.shape) for name, t in m.state_dict().items()} for m in (model, fresh))
    if one != other:
        odd = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
        raise NoFreshModel(f"the factory built another architecture the second time: {', '.join(odd[:3])} differ")
    return fresh


def ensure_random(build: Build, model: nn.Module, seeds: tuple[int, int], paths: Sequence[str]) -> None:
    """Raise an error unless two seeds give every attention module different weights.

    Args:
        build: What built the model.
        model: The tested model.
        seeds: Two seeds.
        paths: Paths of the attention modules.

    Raises:
        NoFreshModel: They do not.
    """
    one, other = (null_model(model, build, seed) for seed in seeds)
    same = [path for path in paths if _equal(_holder(one, path), _holder(other, path))]
    if same:
        raise NoFreshModel(
            f"the factory gives {same[0] or 'the model'} the same weights whatever the seed ({len(same)} attention "
            "modules): constant or trained weights are no null"
        )


def _holder(model: nn.Module, path: str) -> nn.Module:
    """The module at a path, or the nearest around it that has parameters."""
    module = model.get_submodule(path)
    while path and next(module.parameters(), None) is None:
        path = path.rpartition(".")[0]
        module = model.get_submodule(path)
    return module


def _equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


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
    """Return the statistic ``name``, ``(sequence, all heads)``; a name ending in ``EXCESS`` means a divergence minus
    the part that positions explain.
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
