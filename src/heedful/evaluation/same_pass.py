"""What the pass that measures attention gathers beside it, so that no pass of its own is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from heedful.errors import ResourceLimit
from heedful.evaluation.evidence import Array, ProbedCall
from heedful.evaluation.hidden_norms import BlockInputs
from heedful.evaluation.pattern_pool import PatternPool, PoolPlan
from heedful.evaluation.query_key_orientation import Covariances, add_covariances
from heedful.interception.unrotated import Unrotated
from heedful.loading.batch import Batch


@dataclass
class SamePass:
    """Hidden norms and covariances of the first batches, and weights of the pools' sequences, from one pass.

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
        """Hooks are installed inside, and gone afterwards."""
        with ExitStack() as stack:
            if self.norms_of:
                stack.enter_context(self._inputs.watching(self.model))
            if self.covariances_of:
                self._before.begin(self.model, lambda: self._number < self.covariances_of)
                stack.callback(self._before.end)
            yield

    def begin(self, batch: Batch) -> None:
        """The next batch is about to run."""
        self._number += 1
        self._inputs.begin(batch.attention_mask if self._number < self.norms_of else None)

    def probe(self, probed: ProbedCall) -> dict[str, Tensor]:
        """Gather from one call; nothing of it is evidence."""
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

    def _add_weights(self, plan: PoolPlan, probed: ProbedCall) -> None:
        try:
            for place in plan.pool.measured:
                wanted = torch.isin(probed.batch.index, torch.tensor(plan.rows[place]))
                if bool(wanted.any()):
                    plan.add(probed.event, place, wanted)
        except ResourceLimit as error:
            self.plan = PoolPlan(PatternPool(plan.pool.second, reason=f"a fixed pool does not fit: {error}"), plan.rows)

    def norms(self, batches: int) -> dict[str, Array] | None:
        """Module path to ``(sequence, token)`` norms of the first batches; None where they were not gathered."""
        return self._inputs.norms(batches) if 0 < batches == self.norms_of else None
