"""Collect hidden-state norms, query-key covariances and mean patterns in the same pass that measures attention, to
save passes of their own.

Measure hidden-state norms at the input of each attention block, to detect massive activations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from heedful.errors import ResourceLimit
from heedful.evaluation.evidence import Array, ProbedCall
from heedful.evaluation.pattern_pool import PatternPool, PoolPlan
from heedful.evaluation.query_key_orientation import Covariances, add_covariances
from heedful.evaluation.running import run_model
from heedful.interception.event import AttentionEvent
from heedful.interception.uncompiled import module_at
from heedful.interception.unrotated import Unrotated
from heedful.loading.batch import Batch

NORM_SEQUENCES = 8
"""Sequences on which norms of hidden states are taken."""


@dataclass
class BlockInputs:
    """Norms of the hidden states that enter the block around each attention call, collected while the model runs.

    Attributes:
        mask: ``(sequence, token)`` of the batch that runs; None where its norms are not wanted.
        found: Path of a call to the norms of each batch; blocks without such an argument have none.
    """

    mask: Tensor | None = None
    found: dict[str, list[Tensor]] = field(default_factory=dict)
    _names: dict[int, list[str]] = field(default_factory=dict)
    _entered: dict[str, Tensor] = field(default_factory=dict)
    _twice: set[str] = field(default_factory=set)
    _seen: set[str] = field(default_factory=set)

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Return a context with hooks on every module that has children, which note the module's input; the hooks are
        removed at the end.
        """
        handles: list[Any] = []
        for name, module in model.named_modules(remove_duplicate=False):
            if any(True for _ in module.children()):
                self._names.setdefault(id(module), []).append(name)
        try:
            for module in model.modules():
                if id(module) in self._names:
                    handles.append(module.register_forward_pre_hook(self._enter, with_kwargs=True))
                    handles.append(module.register_forward_hook(self._leave))
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._entered.clear()

    def begin(self, mask: Tensor | None) -> None:
        """Prepare for the next batch: set its padding mask and forget the inputs of the last one; with None, no norms
        of this batch are taken.
        """
        self.mask = mask
        self._entered.clear()
        self._seen.clear()

    def take(self, path: str) -> None:
        """Store the norms of the hidden states that entered the block around the call at ``path``, if they are
        known.
        """
        block = path.rpartition(".")[0]
        entered = self._entered.get(block)
        if "." in path and self.mask is not None and entered is not None:
            mask = self.mask.bool().to(entered.device)
            norm = entered.double().norm(dim=-1).masked_fill(~mask, math.nan).cpu()
            self.found.setdefault(path, []).append(norm)

    def norms(self, batches: int) -> dict[str, Array]:
        """Return block-input norms, ``(sequence, token)`` by path of the call; leave out a path unless its block ran
        once in each batch and all batches have one length.
        """
        return {
            path: torch.cat(parts).numpy()
            for path, parts in self.found.items()
            if len(parts) == batches
            and len({part.shape[1] for part in parts}) == 1
            and path.rpartition(".")[0] not in self._twice
        }

    def _enter(self, module: nn.Module, given: tuple[object, ...], named: dict[str, object]) -> None:
        if self.mask is None:
            return
        for value in (*given, *named.values()):
            if isinstance(value, Tensor) and value.dim() == 3 and value.shape[:2] == self.mask.shape:
                for name in self._names[id(module)]:
                    self._twice |= {name} & self._seen
                    self._seen.add(name)
                    self._entered[name] = value.detach()
                return

    def _leave(self, module: nn.Module, given: object, output: object) -> None:
        for name in self._names[id(module)]:
            self._entered.pop(name, None)


def hidden_norms(model: nn.Module, batches: Sequence[Batch], paths: Sequence[str]) -> dict[str, Array]:
    """Return the norm of each token's hidden state at the input of each attention block, ``(sequence, token)`` by path.

    The block is the module's parent: its first argument of shape ``(sequence, token, width)`` is the residual stream
    in decoders that normalise inside of the block. Source: Sun et al. 2024, arXiv:2402.17762 (massive activations).

    Args:
        model: The model, in evaluation mode; its hooks are as before afterwards.
        batches: What to run.
        paths: Attention modules.

    Returns:
        Module path to ``(sequence, token)``, NaN at padding; paths whose block takes no such argument are left out.
    """
    kept: dict[str, list[Tensor]] = {}
    blocks: dict[str, list[str]] = {}
    for path in paths:
        if "." in path:
            blocks.setdefault(path.rpartition(".")[0], []).append(path)

    def watcher(own: list[str], shape: list[Tensor]) -> object:
        def record(module: nn.Module, given: tuple[object, ...], named: dict[str, object]) -> None:
            mask = shape[-1]
            for value in (*given, *named.values()):
                if isinstance(value, Tensor) and value.dim() == 3 and value.shape[:2] == mask.shape:
                    norm = value.detach().double().norm(dim=-1).masked_fill(~mask.bool(), math.nan).cpu()
                    for path in own:
                        kept.setdefault(path, []).append(norm)
                    return

        return record

    masks: list[Tensor] = []
    handles = []
    try:
        for name, own in blocks.items():
            block = module_at(model, name)
            handles.append(block.register_forward_pre_hook(watcher(own, masks), with_kwargs=True))  # type: ignore[arg-type]
        with torch.no_grad():
            for batch in batches:
                masks.append(batch.attention_mask)
                run_model(model, batch.input_ids, batch.attention_mask)
    finally:
        for handle in handles:
            handle.remove()
    total = sum(len(batch.index) for batch in batches)
    joined = {path: torch.cat(parts) for path, parts in kept.items() if len({p.shape[1] for p in parts}) == 1}
    return {path: norms.numpy() for path, norms in joined.items() if len(norms) == total}


@dataclass
class SamePass:
    """Hidden-state norms and query-key covariances of the first batches, and attention weights summed for two pools,
    collected in the pass that measures attention.

    All three are what passes of their own would give (``hidden_norms``, ``covariances``, ``pattern_pool``).

    Attributes:
        model: The model, in evaluation mode.
        norms_of: Batches whose hidden norms are wanted, from the first on.
        covariances_of: Batches whose covariances are wanted, from the first on.
        plan: Which sequences' weights are added up; None for none.
    """

    model: nn.Module
    norms_of: int = 0
    covariances_of: int = 0
    plan: PoolPlan | None = None
    covariances: Covariances = field(default_factory=Covariances)
    _inputs: BlockInputs = field(default_factory=BlockInputs)
    _before: Unrotated = field(default_factory=Unrotated)
    _number: int = -1

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Return a context with the hooks that norms and covariances need; they are removed at the end."""
        with ExitStack() as stack:
            if self.norms_of:
                stack.enter_context(self._inputs.watching(self.model))
            if self.covariances_of:
                self._before.begin(self.model, lambda: self._number < self.covariances_of)
                stack.callback(self._before.end)
            yield

    def begin(self, batch: Batch) -> None:
        """Prepare for the next batch; call this just before the model runs on it."""
        self._number += 1
        self._inputs.begin(batch.attention_mask if self._number < self.norms_of else None)

    def probe(self, probed: ProbedCall) -> dict[str, Tensor]:
        """Collect norms, covariances and pooled weights from one attention call; return an empty dict, since no
        statistic is added to the evidence.
        """
        event, batch = probed.event, probed.batch
        if self._number < self.norms_of:
            self._inputs.take(event.path)
        if self._number < self.covariances_of and len(batch.index) > 1:
            add_covariances(event, batch, self._before, self.covariances)
            for module in event.module.modules():
                self._before.outputs.pop(id(module), None)
        if self.plan is not None and not self.plan.pool.reason:
            self._add_weights(self.plan, probed)
        return {}

    def pools(self, event: AttentionEvent, batch: Batch) -> Tensor | None:
        """Return which sequences of a call belong to which pool, ``(pool, sequence)`` bool; None where none does."""
        if self.plan is None or self.plan.pool.reason:
            return None
        found = torch.stack([torch.isin(batch.index, torch.tensor(rows)) for rows in self.plan.rows])
        return found if bool(found.any()) and self._room(self.plan, event) else None

    def _room(self, plan: PoolPlan, event: AttentionEvent) -> bool:
        """Make room for the sums of a call; without it there is no pool."""
        try:
            plan.room(event)
        except ResourceLimit as error:
            self.plan = PoolPlan(PatternPool(plan.pool.second, reason=f"a fixed pool does not fit: {error}"), plan.rows)
            return False
        return True

    def _add_weights(self, plan: PoolPlan, probed: ProbedCall) -> None:
        pools, pooled = probed.extras.pools, probed.moments.pooled
        if pools is None or not self._room(plan, probed.event):
            return
        for place in plan.pool.measured:
            if pooled is not None:
                plan.room(probed.event)[place] += pooled[place]
            elif bool(pools[place].any()):
                plan.add(probed.event, place, pools[place])

    def norms(self, batches: int) -> dict[str, Array] | None:
        """Return the hidden-state norms of the first ``batches`` batches, ``(sequence, token)`` by path; None unless
        ``norms_of`` equals ``batches``.
        """
        return self._inputs.norms(batches) if 0 < batches == self.norms_of else None
