r"""Null models with query and key projections in random directions, on the layer's real inputs.

Every row :math:`w` of the projections that lead to queries and keys is replaced by :math:`\|w\| g / \|g\|`, :math:`g`
standard normal; signs of biases are drawn. The layer reads what it reads in the model itself.

A model whose projections were drawn from a normal distribution, whatever its scale, is one more such draw, so that
ranks among draws hold their size for it exactly, layer by layer. Training turns the rows towards directions of the
inputs; that is what a PASS then means. Measured sizes and power: docs/explanation/nulls.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from heedful.attention.engines.blocks import cut
from heedful.attention.engines.moments import Extras
from heedful.attention.registry import STATISTICS
from heedful.distributed.ranks import ALONE, Ranks
from heedful.evaluation.evidence import Array, LayerEvidence, Probe, ProbedCall, without_padded_rows
from heedful.evaluation.running import run_model
from heedful.inference.units import mean_of
from heedful.interception.event import AttentionEvent
from heedful.interception.intercept import intercept, unwatched
from heedful.interception.uncompiled import module_at
from heedful.loading.batch import Batch

WORDS = "draws of random query and key projections on the model's own inputs"
SEQUENCES = 2
"""Sequences that the draws read, and the model's own heads beside them: any number has its level, and 4 name no more
heads of SmolLM2 (docs/log/verdicts.md)."""

_PROJECTIONS = ("Linear", "Conv1D", "NonDynamicallyQuantizableLinear")
_MATRICES = ("in_proj_weight", "q_proj_weight", "k_proj_weight")
_VALUES = ("v_proj", "value", "v_lin", "to_v", "wv")


class NoRandomProjections(Exception):
    """A module's projections cannot be replaced by random ones; the message gives the reason."""


class _Seen(Exception):
    """The call that was waited for has been seen; the rest of the module need not run."""


@dataclass
class _Module:
    """An attention module, or the nearest module around it that holds its projections.

    Attributes:
        path: Path of the attention module.
        place: Path of the module that is run again.
        calls: Paths of its calls in one forward, in order.
        number: Its place among the modules.
        seen: Calls of the forward that is running.
        drawn: Names of the submodules that run before the first call; None until they are known.
    """

    path: str
    place: str
    calls: list[str]
    number: int
    seen: int = 0
    drawn: set[str] | None = None


@dataclass
class RandomProjections:
    """Random projections of every layer, and the head statistics measured with them.

    Attributes:
        model: The model, in evaluation mode.
        layers: The calls whose projections are drawn.
        draws: Which draws are made, by number.
        seed: Seed of the draws.
    """

    model: nn.Module
    layers: Sequence[LayerEvidence]
    draws: Sequence[int]
    seed: int
    _found: dict[tuple[int, str, str], list[Array]] = field(default_factory=dict)
    _texts: Sequence[tuple[Batch, Sequence[Probe]]] = ()
    _busy: bool = False

    def run(self, batches: Sequence[Batch], probes: Sequence[Probe]) -> dict[str, Array]:
        """Return head statistics of each draw, averaged over sequences: name to ``(draw, all heads)``.

        Args:
            batches: What the model reads.
            probes: What is measured of each call.

        Raises:
            NoRandomProjections: The projections of some call are not known, or it is divided over processes.
        """
        return self.read([[(batch, probes)] for batch in batches])

    def read(
        self,
        forwards: Sequence[Sequence[tuple[Batch, Sequence[Probe]]]],
        run: Callable[[Batch], object] | None = None,
    ) -> dict[str, Array]:
        """Return the same head statistics as ``run``, ``(draw, all heads)`` by name, but measure several texts in each
        forward.

        Args:
            forwards: What is read together, each with what is measured of its calls.
            run: Runs the model on a batch; None runs it with all of its outputs.

        Raises:
            NoRandomProjections: As for ``run``.
        """

        def whole(batch: Batch) -> object:
            return run_model(self.model, batch.input_ids, batch.attention_mask)

        self._found = {}
        modules = self._modules()
        with torch.no_grad(), self._watching(modules):
            for texts in forwards:
                self._texts = texts
                for module in modules:
                    module.seen = 0
                (run or whole)(joined([batch for batch, _ in texts]))
        paths = [layer.path for layer in self.layers]
        names = sorted({name for _, path, name in self._found if path == paths[0]})
        if missing := [path for path in paths if (self.draws[0], path, names[0]) not in self._found]:
            raise NoRandomProjections(f"{missing[0]}: it was not called when its projections were drawn anew")
        return {name: np.stack([self._heads(draw, name) for draw in self.draws]) for name in names}

    def _heads(self, draw: int, name: str) -> Array:
        parts = [self._found[draw, layer.path, name] for layer in self.layers]
        return np.concatenate([np.asarray(mean_of(np.concatenate(part), axis=0)) for part in parts])

    def _modules(self) -> list[_Module]:
        found: dict[str, _Module] = {}
        for layer in self.layers:
            if layer.part is not None:
                raise NoRandomProjections(f"{layer.path}: its heads are divided over processes")
            known = found.setdefault(layer.module_path, _Module(layer.module_path, "", [], len(found)))
            known.calls.append(layer.path)
        others = list(found)
        for module in found.values():
            module.place = _holder(self.model, module.path, others)
        return list(found.values())

    @contextmanager
    def _watching(self, modules: Sequence[_Module]) -> Iterator[None]:
        handles = []
        try:
            for module in modules:

                def before(place: nn.Module, args: Any, kwargs: Any, module: _Module = module) -> None:
                    if not self._busy:
                        self._busy = True
                        try:
                            self._draw(place, module, args, kwargs)
                        finally:
                            self._busy = False

                place = module_at(self.model, module.place)
                handles.append(place.register_forward_pre_hook(before, with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _draw(self, place: nn.Module, module: _Module, args: Any, kwargs: Any) -> None:
        """Run one module again with each draw of its projections, on the inputs that it was just given."""
        if any("Cache" in type(one).__name__ for one in (*args, *kwargs.values())):
            raise NoRandomProjections(f"{module.path}: it gets a cache, which a second run would extend")
        calls: list[AttentionEvent] = []
        single = len(module.calls) == 1

        def answer(event: AttentionEvent) -> Tensor:
            calls.append(event)
            if single:
                raise _Seen
            return event.run(None)

        own: AttentionEvent | None = None
        seen = module.seen
        with intercept(place, answer), _values_once(place) if single else nullcontext():
            if module.drawn is None:
                module.drawn = _before_first_call(place, args, kwargs, calls)
                own = calls[0] if calls else None
            for draw in self.draws:
                calls.clear()
                weights = drawn_weights(place, module.drawn, self._generator(module.number, draw))
                _run(place, weights, args, kwargs)
                if own is not None and calls:
                    _ensure_drawn(module.path, own, calls[0])
                    own = None
                module.seen = seen + len(calls)
                for path, event in zip(module.calls[seen : module.seen], calls, strict=False):
                    self._note(draw, path, event)

    def _note(self, draw: int, path: str, event: AttentionEvent) -> None:
        if event.call.batch != sum(len(batch.index) for batch, _ in self._texts):
            raise NoRandomProjections(f"{path}: its sequences are not those of the text")
        event = replace(event, call=replace(event.call, value=None))  # no draw is asked what it would write
        begin = 0
        for text, probes in self._texts:
            call, batch = event.call, text.at(event.call.query.device)
            rows, begin = slice(begin, begin + len(batch.index)), begin + len(batch.index)
            own = replace(event, call=cut(call, rows, slice(0, call.kv_heads), call.query.dtype))
            sight = ProbedCall(without_padded_rows(own, batch), own.call.query, batch, _extras())
            with unwatched():
                for probe in probes:
                    for name, value in probe(sight).items():
                        self._found.setdefault((draw, path, name), []).append(value.double().cpu().numpy())

    def _generator(self, number: int, draw: int) -> torch.Generator:
        return torch.Generator().manual_seed(((self.seed * 9973 + draw) * 100_003 + number) % 2**63)


def _extras() -> Extras:
    """Moments that some statistic is made of, and the local contrast."""
    needed = frozenset(name for facts in STATISTICS.values() for name in facts.needs)
    return Extras(contrast=True, only=needed)


@contextmanager
def _values_once(place: nn.Module) -> Iterator[None]:
    """Projections of values inside a module are computed once inside, since no draw changes them."""
    parts = [
        part
        for name, part in place.named_modules()
        if name.rpartition(".")[2] in _VALUES and type(part) is nn.Linear and "forward" not in vars(part)
    ]
    for part in parts:

        def once(given: Tensor, own: Callable[[Tensor], Tensor] = part.forward, kept: list[Tensor] = []) -> Tensor:  # noqa: B006
            if not kept or kept[0].shape[:-1] != given.shape[:-1]:
                kept[:] = [own(given)]
            return kept[0].clone()

        part.forward = once  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for part in parts:
            del part.forward


def joined(batches: Sequence[Batch]) -> Batch:
    """Concatenate batches whose sequences have the same length into one batch."""
    names = ("input_ids", "attention_mask", "index", "special", "punctuation")
    return batches[0] if len(batches) == 1 else Batch(*(torch.cat([getattr(b, n) for b in batches]) for n in names))


def _holder(model: nn.Module, path: str, others: Sequence[str]) -> str:
    """The module at a path, or the nearest around it that has matrices and no other attention module."""
    place = path
    while not _matrices(module_at(model, place)):
        around = place.rpartition(".")[0]
        if not place or sum(one == around or one.startswith(f"{around}.") or not around for one in others) > 1:
            raise NoRandomProjections(f"{path or 'the model'}: its projections lie outside of it")
        place = around
    return place


def _matrices(module: nn.Module) -> list[str]:
    """Names of the submodules ('' for itself) that hold a matrix which can be drawn anew."""
    found = [name for name, part in module.named_modules() if type(part).__name__ in _PROJECTIONS]
    own = any(getattr(module, name, None) is not None for name in _MATRICES)
    return [*found, *([""] if own else [])]


def _before_first_call(place: nn.Module, args: Any, kwargs: Any, calls: list[AttentionEvent]) -> set[str]:
    """Names of the submodules that run before the module's first attention call, those of values left out."""
    ran: list[str] = []
    handles = [
        part.register_forward_hook(lambda *_, name=name: None if calls else ran.append(name))
        for name, part in place.named_modules()
        if name and type(part).__name__ in _PROJECTIONS
    ]
    try:
        _run(place, {}, args, kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return {name for name in ran if name.rpartition(".")[2] not in _VALUES} | {""}


def _run(place: nn.Module, weights: dict[str, Tensor], args: Any, kwargs: Any) -> None:
    with suppress(_Seen):
        functional_call(place, weights, args, kwargs)


def _ensure_drawn(path: str, own: AttentionEvent, other: AttentionEvent) -> None:
    """A null that leaves queries or keys as they are is none."""
    for name in ("query", "key"):
        before, after = getattr(own.call, name), getattr(other.call, name)
        if before.shape == after.shape and torch.equal(before, after):
            raise NoRandomProjections(
                f"{path}: the projection of its {'queries' if name == 'query' else 'keys'} is not known"
            )


def drawn_weights(place: nn.Module, names: set[str], generator: torch.Generator) -> dict[str, Tensor]:
    """Return random directions for the parameters ``names``; weight rows keep their norms, biases their sizes.

    Args:
        place: The module that is run again.
        names: Names of its submodules whose matrices are drawn; the empty string stands for itself.
        generator: Randomness, on the CPU.

    Returns:
        Name to value, for ``torch.func.functional_call``.

    Raises:
        NoRandomProjections: A parameter has no data here, or holds no floating-point numbers.
    """
    found: dict[str, Tensor] = {}
    for name, parameter in place.named_parameters():
        owner, _, leaf = name.rpartition(".")
        if owner not in names:
            continue
        kind = type(place.get_submodule(owner)).__name__
        matrix = leaf in _MATRICES or (leaf == "weight" and kind in _PROJECTIONS)
        if not matrix and leaf not in ("bias", "in_proj_bias"):
            continue
        if parameter.is_meta or not parameter.is_floating_point():
            raise NoRandomProjections(f"{name}: its values are not on this process, or are not an ordinary tensor")
        if not owner and not matrix and kind not in ("MultiheadAttention", *_PROJECTIONS):
            continue
        found[name] = (
            _turned(parameter, 0 if kind == "Conv1D" else 1, generator) if matrix else _signed(parameter, generator)
        )
    return found


def _turned(parameter: Tensor, axis: int, generator: torch.Generator) -> Tensor:
    """Every vector along an axis in a random direction, as long as before."""
    drawn = torch.randn(parameter.shape, generator=generator)
    drawn = drawn.to(device=parameter.device)
    size = parameter.float().norm(dim=axis, keepdim=True) / drawn.norm(dim=axis, keepdim=True)
    return (drawn * size).to(parameter.dtype)


def _signed(parameter: Tensor, generator: torch.Generator) -> Tensor:
    signs = torch.randint(0, 2, parameter.shape, generator=generator).mul_(2).sub_(1)
    return parameter * signs.to(parameter)


def projected_statistics(
    model: nn.Module,
    count: int,
    layers: Sequence[LayerEvidence],
    texts: Sequence[tuple[Sequence[Batch], Sequence[Probe]]],
    seed: int,
    tick: Callable[[], None] = lambda: None,
    ranks: Ranks = ALONE,
    run: Callable[[Batch], object] | None = None,
) -> dict[str, Array]:
    """Return head statistics with random projections, averaged over sequences: name to ``(draw, all heads)``.

    Args:
        model: The model, in evaluation mode.
        count: Draws.
        layers: The calls whose projections are drawn.
        texts: What is read, and what is measured of it.
        seed: Seed of the draws.
        tick: Called once for each text.
        ranks: Processes that divide the draws.
        run: Runs the model on a batch; None runs it with all of its outputs.

    Returns:
        Name to ``(draw, all heads)``.

    Raises:
        NoRandomProjections: The projections of some call are not known.
    """
    mine = ranks.own(range(count))
    which = mine or [0]  # a rank without any learns the shapes of the others' arrays
    found: dict[str, Array] = {}
    forwards = [[[(batch, probes)] for batch in batches] for batches, probes in texts]
    firsts = [batches[0] for batches, _ in texts if len(batches) == 1]
    if len(firsts) == len(texts) and len({batch.input_ids.shape[1] for batch in firsts}) == 1:
        forwards = [[[(batch, probes) for (batch,), probes in texts]]]  # each draw is then made once
    for some in forwards:
        for name, value in RandomProjections(model, layers, which, seed).read(some, run).items():
            found[name] = np.zeros((count, *value.shape[1:]))
            found[name][list(which)] = value
        for _ in range(len(texts) // len(forwards)):
            tick()
    names = sorted(found)
    rows = np.isin(np.arange(count), mine)
    return dict(zip(names, ranks.merged([found[name] for name in names], rows), strict=True))


def first_of(batch: Batch, count: int) -> Batch:
    """Return the first ``count`` sequences of a batch."""
    return Batch(
        *(getattr(batch, name)[:count] for name in ("input_ids", "attention_mask", "index", "special", "punctuation"))
    )
