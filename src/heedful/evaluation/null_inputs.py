"""Prepare inputs for null comparisons: untrained models, shuffled tokens, repeated random tokens."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from heedful.evaluation.null_models import Build, NoFreshModel, ensure_random, null_model
from heedful.evaluation.running import device_of
from heedful.evaluation.settings import LONGEST_PERIOD, SHORTEST_PERIOD
from heedful.loading.batch import Batch


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
