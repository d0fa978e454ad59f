"""Remove layers, heads and dimensions from a running model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.changed_keys import attended
from heedful.compression.label_losses import label_losses
from heedful.compression.loss_context import EvaluationContext
from heedful.compression.stored_keys import Stored, stored_keys
from heedful.evaluation.evidence import Array
from heedful.loading.batch import Batch


@dataclass(frozen=True)
class Removal:
    """The layers, heads and dimensions to remove.

    Attributes:
        heads: Module path to the query heads whose output becomes 0; all of them for a layer.
        dimensions: Module path to ``(key_head, dim)`` bool, True where a component is left out of keys and queries.
    """

    heads: Mapping[str, frozenset[int]] = field(default_factory=dict)
    dimensions: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def name(self) -> object:
        """A hashable key that is equal for equal removals."""
        gone = ((module, tuple(mask.flatten().tolist())) for module, mask in sorted(self.dimensions.items()))
        return tuple(sorted((module, tuple(sorted(heads))) for module, heads in self.heads.items())), tuple(gone)

    def output(self, stored: Stored) -> Tensor | None:
        """Return a call's output without the removed parts; None if nothing of the call is removed."""
        if stored.module in self.dimensions:
            return attended(without_dimensions(stored.call, self.dimensions[stored.module]))
        gone = self.heads.get(stored.module)
        if not gone:
            return None
        output = stored.own().clone()
        output[:, sorted(gone)] = 0
        return output


def without_dimensions(call: AttentionCall, gone: Tensor) -> AttentionCall:
    """Remove some components of queries and keys from a call; scale and all else stay.

    A component that is 0 in the key adds nothing to any product, whatever the query has there.

    Args:
        call: The attention call.
        gone: ``(key_head, dim)`` bool.
    """
    return replace(call, key=call.key.masked_fill(gone.to(call.key.device)[None, :, None], 0.0))


def losses_without(
    context: EvaluationContext, batches: Sequence[Batch], removal: Removal, tick: Callable[[], None]
) -> Array:
    """Return losses with three sets of labels after a removal, ``(sequence, 3)`` in nats per token."""
    now: list[Batch] = [batches[0]]
    parts = []
    with stored_keys(context.model, now, "after", removal.output):
        for batch in batches:
            now[:] = [batch]
            parts.append(label_losses(context, [batch], tick))
    return np.concatenate(parts)
