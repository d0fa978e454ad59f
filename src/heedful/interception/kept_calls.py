"""Store the first sequence of each layer's first call within a memory limit, to draw heads later."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.binned import BINS, BLOCK_ELEMENTS, BinnedMap, binned_map
from heedful.attention.engines.points import block_at
from heedful.errors import CaptureError, ResourceLimit, UsageError

BUDGET = 64 << 20
"""Bytes of queries, keys and masks that one session keeps."""

WEIGHTS_BYTES = 256 << 20
"""Bytes of one head's weights that are held whole: 8,192 x 8,192 of float32."""


@dataclass
class KeptCall:
    """Stored copy of one sequence of one attention call.

    Attributes:
        layer: Index of its layer.
        listed: Head index of each of its heads.
        call: The call, without values; None where there was no room for it.
    """

    layer: int
    listed: tuple[int, ...]
    call: AttentionCall | None


@dataclass
class KeptCalls:
    """Stored calls of a session for drawing; they are copies, which keep no tensor of the model alive.

    Attributes:
        calls: Module path to its call.
        left: Bytes that may still be kept.
    """

    calls: dict[str, KeptCall] = field(default_factory=dict)
    left: int = BUDGET

    def offer(self, path: str, layer: int, listed: tuple[int, ...], call: AttentionCall) -> None:
        """Store the first sequence of a layer's first call, if it fits into the remaining memory."""
        if path in self.calls:
            return
        one = first_sequence(call)
        size = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(one))
        if size > self.left:
            self.calls[path] = KeptCall(layer, listed, None)
            return
        self.left -= size
        self.calls[path] = KeptCall(layer, listed, _copied(one))

    def map(self, layer: int | str, head: int, bins: int = BINS) -> tuple[str, BinnedMap]:
        """Return the module path and the binned attention map of one head.

        Args:
            layer: Layer index, or module path.
            head: Head index.
            bins: Most bins of each axis.

        Raises:
            CaptureError: No attention call was met.
            UsageError: There is no such layer or head, there was no room to keep it, or bins are not 1 to 256.
        """
        if isinstance(bins, bool) or not isinstance(bins, int) or not 1 <= bins <= BINS:
            raise UsageError(f"pattern: bins: expected 1 to {BINS}, got {bins!r:.60}")
        path, call = self._head("pattern", layer, head)
        return path, binned_map(call, bins)

    def weights(self, layer: int | str, head: int) -> Tensor:
        """Return all weights of one head, ``(query, key)``; rows without visible keys are 0.

        Args:
            layer: Layer index, or module path.
            head: Head index.

        Raises:
            CaptureError: No attention call was met.
            UsageError: There is no such layer or head, or there was no room to keep it.
            ResourceLimit: The array would be too large.
        """
        path, call = self._head("weights", layer, head)
        dtype = torch.float64 if call.query.dtype == torch.float64 else torch.float32
        size = call.n_queries * call.n_keys * dtype.itemsize
        if size > WEIGHTS_BYTES:
            message = f"{call.n_queries:,} x {call.n_keys:,} weights take {-(-size >> 20):,} MiB"
            fix = "session.pattern draws them, session.heads measures them; or run a shorter sequence"
            raise ResourceLimit(f"weights: {path}: {message}, the limit is {WEIGHTS_BYTES >> 20} MiB ({fix})")
        found = torch.zeros(call.n_queries, call.n_keys, dtype=dtype, device=call.query.device)
        rows = max(1, BLOCK_ELEMENTS // call.n_keys)
        with torch.no_grad():
            for begin in range(0, call.n_queries, rows):
                end = min(begin + rows, call.n_queries)
                seen = call.visibility.block(begin, end, 0, call.n_keys, call.n_queries, call.n_keys, found.device)
                found[begin:end] = block_at(call, begin, end).masked_fill(~seen, 0.0)[0, 0]
        return found

    def _head(self, asked: str, layer: int | str, head: int) -> tuple[str, AttentionCall]:
        """Module path and kept call of one head."""
        if not self.calls:
            raise CaptureError(asked, "no attention call was captured", "run the model inside the `with` block")
        found = [(path, kept) for path, kept in self.calls.items() if layer in (path, kept.layer)]
        if not found or isinstance(layer, bool):
            known = ", ".join(f"{kept.layer} ({path})" for path, kept in list(self.calls.items())[:4])
            raise UsageError(f"{asked}: no such layer: {layer!r:.60}; measured: {known} ...")
        path, kept = found[0]
        if head not in kept.listed or isinstance(head, bool):
            raise UsageError(f"{asked}: {path} has heads {', '.join(map(str, kept.listed[:16]))}; got {head!r:.60}")
        if kept.call is None:
            message = f"no memory left to keep {path}: {BUDGET >> 20} MiB are already used"
            raise UsageError(f"{asked}: {message}; capture it alone: heedful.capture(model, layers=[{kept.layer}])")
        return path, _one_head(kept.call, kept.listed.index(head))


def first_sequence(call: AttentionCall) -> AttentionCall:
    """Return the call of the first sequence alone, without values; its tensors are views."""
    one = slice(0, 1)
    return replace(
        call,
        query=call.query[one],
        key=call.key[one],
        value=None,
        visibility=call.visibility.part(one, slice(None)),
        bias=None if call.bias is None else call.bias[one],
    )


def _tensors(call: AttentionCall) -> list[Tensor]:
    rules = call.visibility
    wanted = (call.query, call.key, call.bias, call.sink, rules.mask, rules.keys, rules.queries)
    return [tensor for tensor in (*wanted, rules.documents, rules.query_documents) if tensor is not None]


def _copied(call: AttentionCall) -> AttentionCall:
    rules, names = call.visibility, ("mask", "keys", "queries", "documents", "query_documents")
    own: dict[str, Any] = {name: _own(getattr(rules, name)) for name in names}
    return replace(
        call,
        query=call.query.detach().clone(),
        key=call.key.detach().clone(),
        bias=_own(call.bias),
        sink=_own(call.sink),
        visibility=replace(rules, **own),
    )


def _own(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone()


def _one_head(call: AttentionCall, head: int) -> AttentionCall:
    from heedful.interception.selection import only_heads

    return only_heads(call, [head])
