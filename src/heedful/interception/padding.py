"""Find which rows of a call are padding: first from the call, then from masks passed for the same sequence.

In self-attention a key that no query may see is padding, and so is the row at its position. A mask that a model takes
and does not use, behind causal attention, changes nothing but which rows count: it is believed where it is the mask of
the one sequence that entered, and no row that it leaves sees a key that it hides. Rows of cross-attention are those of
the self-attention beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.visibility import Visibility
from heedful.interception.stack import Frame


def with_padding(call: AttentionCall, frames: Sequence[Frame]) -> AttentionCall:
    """Return the call with padded queries masked out.

    Args:
        call: The call.
        frames: The running modules, outermost first.
    """
    if call.visibility.queries is not None:
        _remember(call, call.visibility.queries, frames)
        return call
    shape = (call.batch, call.n_queries)
    if call.offset is None or call.offset < 0:
        real = next((f.real[shape] for f in _scope(frames) if shape in f.real), None)
    else:
        real = _seen_at_all(call)
        if real is None:
            real = _handed(call, frames)
        _remember(call, real, frames)
    if real is None:
        return call
    real = real.to(call.query.device)
    return replace(call, visibility=replace(call.visibility, queries=real, keys=_keys(call, real)))


def _keys(call: AttentionCall, real: Tensor) -> Tensor | None:
    """Padded keys hidden, which no row that is left sees, so that they are not the first key of a sequence either."""
    if call.offset is None or call.offset < 0 or call.offset + call.n_queries > call.n_keys:
        return call.visibility.keys
    keys = real.new_ones(call.batch, call.n_keys)
    keys[:, call.offset : call.offset + call.n_queries] = real
    return keys if call.visibility.keys is None else keys & call.visibility.keys


def rows_unknown(call: AttentionCall) -> bool:
    """Return whether keys are padded but the padded queries are unknown; call after ``with_padding``."""
    rules = call.visibility
    if call.offset is not None or rules.queries is not None or call.n_queries == 1:
        return False
    if rules.mask is None or rules.mask.shape[3] == 1:
        return rules.keys is not None and not bool(rules.keys.all())
    return not bool(rules.mask.any(dim=2).any(dim=1).all())


def _scope(frames: Sequence[Frame]) -> list[Frame]:
    """Frames innermost first, as far as the one that was handed tokens of its own."""
    found: list[Frame] = []
    for frame in reversed(frames):
        found.append(frame)
        if frame.handed.fresh:
            break
    return found


def _remember(call: AttentionCall, real: Tensor | None, frames: Sequence[Frame]) -> None:
    for frame in _scope(frames):
        frame.real[(call.batch, call.n_queries)] = real


def _seen_at_all(call: AttentionCall) -> Tensor | None:
    """Rows whose own key some query may see; None where all are such rows."""
    rules, start = call.visibility, call.offset or 0
    if start + call.n_queries > call.n_keys or call.n_queries == 1:
        return None
    shown: Tensor | None = None
    if rules.mask is not None and rules.mask.shape[3] > 1:
        shown = rules.mask.any(dim=2).any(dim=1)
        if _hides_own(rules, shown, start, call.n_queries):
            return None
    if rules.keys is not None:
        shown = rules.keys if shown is None else shown & rules.keys
    if shown is None:
        return None
    own = shown[:, start : start + call.n_queries].expand(call.batch, call.n_queries)
    return None if bool(own.all()) else own


def _hides_own(rules: Visibility, shown: Tensor, start: int, n_queries: int) -> bool:
    """Whether rows do not see their own keys by a rule: then it says nothing that nobody sees the last one."""
    mask = rules.mask
    if mask is None or mask.shape[2] != n_queries:
        return False
    own, others = mask.any(dim=1).diagonal(offset=start, dim1=1, dim2=2), shown[:, start : start + n_queries]
    return int((own & others).sum()) * 2 < int(others.sum())


def _handed(call: AttentionCall, frames: Sequence[Frame]) -> Tensor | None:
    """The innermost mask that is of this call's sequence alone, and agrees with what its rows see."""
    for frame in _scope(frames):
        masks = [entry for entry in frame.handed.masks if tuple(entry[0].shape) == (call.batch, call.n_keys)]
        if not masks:
            continue
        same = sum(shape == (call.batch, call.n_keys) for shape in frame.handed.sequences)
        real = _tokens_of(*masks[0]) if len(masks) == 1 and same <= 1 else None
        return None if real is None else _agreeing(call, real.to(call.query.device))
    return None


def _tokens_of(mask: Tensor, marks_padding: bool) -> Tensor | None:
    """True at tokens; None where a mask holds other numbers than 0 and 1."""
    if mask.is_floating_point() and not bool(((mask == 0) | (mask == 1)).all()):
        return None
    return (mask != 0) != marks_padding


def _agreeing(call: AttentionCall, real: Tensor) -> Tensor | None:
    rules, start = call.visibility, call.offset or 0
    if bool(real.all()):
        return None
    own = real[:, start : start + call.n_queries]
    if rules.is_causal:
        ordered = bool(real[:, 0].all()) and bool((real[:, 1:] <= real[:, :-1]).all())
        return own if ordered else None  # padding at the end, which no earlier row sees
    if rules.mask is None or rules.mask.shape[2] == 1:
        return None
    seen = rules.mask.any(dim=1) & own[:, :, None] & ~real[:, None, :]
    return None if bool(seen.any()) else own
