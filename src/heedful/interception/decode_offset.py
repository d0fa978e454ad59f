"""Find query positions when there are more keys than queries, from masks and from the growth of a cache.

Attention written out is told of nothing but its logits. Two things prove that query rows are the last positions of one
sequence: each row sees one key more than the row before it, up
to the last key, or the last key that is seen lies exactly as many positions
further on as there are new queries since the module's last call, which no cross-attention does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from heedful.attention.call import AttentionCall


@dataclass
class DecodeOffsets:
    """Tracks the last key that each module's last query saw."""

    _ends: dict[str, int] = field(default_factory=dict)

    def offset_of(self, path: str, call: AttentionCall) -> int | None:
        """Return the key position of query 0, or None if it is unknown.

        Args:
            path: Module path.
            call: Its call, whose visibility is a mask, or hides nothing.
        """
        mask = call.visibility.mask
        if call.n_queries > call.n_keys:
            return None
        last = None if mask is None else last_seen(mask, call.n_keys)
        if mask is not None and last is None:
            return None
        end = call.n_keys - 1 if last is None else int(last[-1])
        before, self._ends[path] = self._ends.get(path), end
        first = end - call.n_queries + 1
        stairs = (
            last is not None
            and call.n_queries > 1
            and end == call.n_keys - 1  # a window to both sides steps as well
            and bool((last[1:] - last[:-1] == 1).all())
        )
        if stairs or (before is not None and before + call.n_queries == end):
            return first
        return None


def last_seen(mask: Tensor, n_keys: int) -> Tensor | None:
    """Return the last key that each query sees in any sequence or head; None if a query sees nothing.

    Args:
        mask: ``(batch, head, query, key)`` bool, axes of length 1 where all are alike.
        n_keys: Number of keys.
    """
    seen = mask.expand(*mask.shape[:-1], n_keys).any(0).any(0)
    if not bool(seen.any(-1).all()):
        return None
    last: Tensor = n_keys - 1 - seen.flip(-1).int().argmax(-1)
    return last
