"""Find which leading axes of a call are sequences and which are heads; convert to ``(batch, head, ...)`` and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from heedful.errors import HeedfulError
from heedful.interception.form_rules import COPY, FEATURE, LEAD, UNKNOWN, WEIGHT, Axis, kinds

BATCH, HEAD = "batch", "head"

Roles = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Arrangement:
    """Roles of the leading axes of attention weights: sequences or heads.

    Attributes:
        axes: For each leading axis its factors, outermost first: a role, a length and a step of features (0: unknown).
    """

    axes: tuple[Roles, ...]

    @property
    def batch(self) -> int:
        """Number of sequences."""
        return math.prod(size for axis in self.axes for role, size, _ in axis if role == BATCH)

    @property
    def heads(self) -> int:
        """Number of query heads."""
        return math.prod(size for axis in self.axes for role, size, _ in axis if role == HEAD)

    @cached_property
    def is_standard(self) -> bool:
        """Whether tensors already have the layout ``(batch, head, ...)``."""
        roles = [[role for role, size, _ in axis if size > 1] for axis in self.axes]
        plain = len(self.axes) == 2 and HEAD not in roles[0] and BATCH not in roles[1]
        return plain and self._order() == list(range(len(self._lengths())))

    def standard(self, tensor: Tensor, *, whole: bool = False) -> Tensor:
        """Convert ``(*leading, a, b)`` to ``(batch, head, a, b)``.

        Args:
            tensor: Its leading axes are the call's or of length 1; missing ones count as such.
            whole: Whether axes of length 1 become as long as the call's; otherwise they stay where that can be said
                (one mask for all, one key head for some query heads).
        """
        lacking = len(self.axes) + 2 - tensor.dim()
        tensor = tensor[(None,) * lacking] if lacking else tensor
        if self.is_standard and (not whole or tensor.shape[:2] == (self.batch, self.heads)):
            return tensor
        sizes: list[int] = []
        for axis, size in zip(self.axes, tensor.shape, strict=False):
            full = math.prod(length for _, length, _ in axis)
            sizes.extend(length if size == full else 1 for _, length, _ in axis)
        spread = tensor.reshape(*sizes, *tensor.shape[-2:])
        order, lengths = self._order(), self._lengths()
        spread = spread.permute(*order, len(order), len(order) + 1)
        batches = sum(role == BATCH for axis in self.axes for role, _, _ in axis)
        shape = list(spread.shape)
        for begin, end, heads in ((0, batches, False), (batches, len(order), True)):
            complete = [lengths[place] for place in order[begin:end]]
            if whole or not _says_itself(shape[begin:end], complete, heads):
                shape[begin:end] = complete
        spread = spread.expand(shape)
        return spread.reshape(math.prod(shape[:batches]), math.prod(shape[batches : len(order)]), *tensor.shape[-2:])

    def own(self, tensor: Tensor, leading: Sequence[int] | None = None) -> Tensor:
        """Convert ``(batch, head, a, b)`` back to the module's layout ``(*leading, a, b)``.

        Args:
            tensor: All sequences and heads, or as many of them as ``standard`` gave.
            leading: Lengths of the leading axes, where some are 1; None for those of the call.
        """
        if self.is_standard and leading is None:
            return tensor
        order, lengths = self._order(), self._lengths()
        sizes = [math.prod(length for _, length, _ in axis) for axis in self.axes]
        wanted = sizes if leading is None else list(leading)
        there = [size == full for axis, size, full in zip(self.axes, wanted, sizes, strict=True) for _ in axis]
        own = [length if kept else 1 for length, kept in zip(lengths, there, strict=True)]
        batches = sum(role == BATCH for axis in self.axes for role, _, _ in axis)
        spread = tensor
        for group, place in ((order[batches:], 1), (order[:batches], 0)):
            full = math.prod(lengths[i] for i in group)
            whole = spread.shape[place] == full
            spread = spread.unflatten(place, [lengths[i] if whole else own[i] for i in group] or [1])
        back = sorted(range(len(order)), key=lambda place: order[place])
        spread = self._flat(spread, order, batches)
        spread = spread.permute(*back, len(order), len(order) + 1)
        for place, length in enumerate(own):
            if spread.shape[place] != length:
                spread = spread.narrow(place, 0, 1)
        return spread.reshape(*wanted, *tensor.shape[-2:])

    @staticmethod
    def _flat(spread: Tensor, order: list[int], batches: int) -> Tensor:
        """Without the axes of length 1 that stand for a group of none."""
        if not batches:
            spread = spread.squeeze(0)
        if batches == len(order):
            spread = spread.squeeze(batches)
        return spread

    def _lengths(self) -> list[int]:
        return [size for axis in self.axes for _, size, _ in axis]

    def _order(self) -> list[int]:
        """Factors of sequences first, then those of heads as the module numbers them: by place among features."""
        factors = [factor for axis in self.axes for factor in axis]
        heads = [i for i, (role, _, _) in enumerate(factors) if role == HEAD]
        steps = [factors[i][2] for i in heads]
        if 0 not in steps and len(set(steps)) == len(steps):
            heads.sort(key=lambda i: -factors[i][2])
        return [i for i, (role, _, _) in enumerate(factors) if role == BATCH] + heads


def _says_itself(shape: Sequence[int], full: Sequence[int], heads: bool) -> bool:
    """Whether a group of axes may keep its lengths of 1: all of them, or of heads the innermost ones."""
    short = [size != length for size, length in zip(shape, full, strict=True)]
    if not any(short) or all(size == 1 for size in shape):
        return True
    first = short.index(True)
    return heads and all(size == 1 for size in shape[first:])


def arranged(
    sizes: Sequence[int],
    candidates: Sequence[Sequence[Axis]],
    *,
    heads: int | None,
    batch: int | None,
    customary: bool = False,
) -> Arrangement:
    """Determine the roles of the leading axes from how the call's tensors were computed.

    Args:
        sizes: Lengths of the leading axes.
        candidates: For each tensor that knows, the axes in their places (empty ones where it has length 1).
        heads: Number of heads as the module names it, or None.
        batch: Number of sequences that entered the module, or None.
        customary: Whether ``(batch, head)`` is documented for this call, so that it holds where nothing is known.

    Raises:
        HeedfulError: It is not known which axis is which, or two tensors contradict.
    """
    found: list[Roles | None] = []
    for place, size in enumerate(sizes):
        if size == 1:
            found.append(())
            continue
        axes = [candidate[place] for candidate in candidates]
        plain = [axis for axis in axes if COPY not in kinds(axis)]  # what copies stand for is told by what is none
        messages = [roles for axis in plain if (roles := _roles(axis, size, batch)) is not None]
        messages = messages or [roles for axis in axes if (roles := _roles(axis, size, batch)) is not None]
        if any(_joined(one) != _joined(messages[0]) for one in messages):
            raise HeedfulError(f"its axis of {size} holds heads by one of its tensors and sequences by another")
        found.append(messages[0] if messages else None)
    if None not in found:
        return Arrangement(tuple(axis for axis in found if axis is not None))
    return _by_custom(sizes, found, heads, batch, customary)


def _joined(roles: Roles) -> tuple[tuple[str, int], ...]:
    """Neighbouring factors of one role as one."""
    merged: list[tuple[str, int]] = []
    for role, size, _ in roles:
        if merged and merged[-1][0] == role:
            merged[-1] = (role, merged[-1][1] * size)
        else:
            merged.append((role, size))
    return tuple(merged)


def _roles(axis: Axis, size: int, batch: int | None) -> Roles | None:
    own = kinds(axis)
    if math.prod(length for _, length, _ in axis) != size or UNKNOWN in own or own <= {COPY}:
        return None
    roles: list[tuple[str, int, int]] = []
    for place, (kind, length, step) in enumerate(axis):
        copies = BATCH if not own & {FEATURE, WEIGHT} or (place == 0 and length == batch) else HEAD
        roles.append((BATCH if kind == LEAD else HEAD if kind in (FEATURE, WEIGHT) else copies, length, step))
    return tuple(roles)


def _by_custom(
    sizes: Sequence[int], found: list[Roles | None], heads: int | None, batch: int | None, customary: bool
) -> Arrangement:
    """What custom, the module's own number of heads and the number of sequences leave open."""
    shape = tuple(sizes)
    known = [axis for axis in found if axis]
    if len(shape) == 1:
        if heads in (None, 1) or shape[0] % heads or (batch is not None and batch == shape[0]):  # type: ignore[operator]
            return Arrangement((((BATCH, shape[0], 0),),))
        raise HeedfulError(
            f"an axis of {shape[0]} may hold {heads} heads in either order: how it was made was not seen"
        )
    if len(shape) == 2:
        second, first = ((BATCH, shape[0], 0),), ((HEAD, shape[1], 0),)
        agrees = all(axis in (None, (), own) for axis, own in zip(found, (second, first), strict=True))
        if agrees and known:
            return Arrangement((second, first))  # one is known, the other is what is left
        message = heads == shape[1] and (batch == shape[0] or (batch is None and shape[0] != shape[1]))
        against = heads == shape[0] and heads != shape[1]
        if not known and not against and (message or customary):
            return Arrangement((second, first))
    if customary and not known:
        return Arrangement((*(((BATCH, size, 0),) for size in shape[:-1]), ((HEAD, shape[-1], 0),)))
    raise HeedfulError(f"leading axes of lengths {shape}: it is not known which are sequences and which are heads")
