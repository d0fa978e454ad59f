"""The SO(3) irreps that make up a layer's heads; every copy of an irrep is one head.

The only module that imports e3nn, for its irreps notation and its generators.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from heedful.errors import UsageError

HIGHEST = 11
"""Highest order that e3nn has."""

EXAMPLE = "'5x0e + 3x1e + 1x2e'"


@dataclass(frozen=True)
class Irreps:
    """Groups of equal irreps, in head order.

    Attributes:
        groups: ``(copies, order)`` of each group; a copy of order ``l`` is a head of ``2 l + 1`` dimensions.
    """

    groups: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        return "+".join(f"{copies}x{order}e" for copies, order in self.groups)

    @property
    def orders(self) -> tuple[int, ...]:
        """Order l of each head's irrep."""
        return tuple(order for copies, order in self.groups for _ in range(copies))

    @property
    def dims(self) -> tuple[int, ...]:
        """Number of dimensions of each head."""
        return tuple(2 * order + 1 for order in self.orders)

    @property
    def dim(self) -> int:
        """Total number of dimensions of all heads."""
        return sum(self.dims)

    @property
    def heads(self) -> int:
        """Number of heads."""
        return len(self.orders)

    @property
    def labels(self) -> tuple[str, ...]:
        """Label of each head's irrep, such as ``l0`` or ``l1``; copies of one irrep share a label."""
        return tuple(f"l{order}" for order in self.orders)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Range of dimensions of each group."""
        ends = list(accumulate(copies * (2 * order + 1) for copies, order in self.groups))
        return tuple(slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False))


def parse_irreps(given: Any) -> Irreps:
    """Parse e3nn's notation, or a list of ``(label, copies, dimensions)``, into ``Irreps``.

    Args:
        given: Such as ``"5x0e + 3x1e + 1x2e"`` or ``[("l0", 5, 1), ("l1", 3, 3), ("l2", 1, 5)]``; ``ℓ`` is ``l``. The
            list may also come as text, which is read as a literal and never run.

    Returns:
        The irreps. Only even parity is known: rotations alone tell ``1o`` and ``1e`` not apart.

    Raises:
        UsageError: They cannot be read, there are none, or e3nn is not installed.
    """
    if isinstance(given, str) and given.lstrip()[:1] in ("[", "("):
        given = _literal(given)
    groups = _from_notation(given) if isinstance(given, str) else _from_list(given)
    if not groups:
        raise UsageError(f"irreps {given!r}: expected at least one, as in {EXAMPLE}")
    for copies, order in groups:
        if copies < 1:
            raise UsageError(f"irreps {given!r}: expected at least one copy of each, got {copies} of l = {order}")
        if order > HIGHEST:
            raise UsageError(f"irreps {given!r}: expected l of at most {HIGHEST}, got {order}")
    return Irreps(groups)


def _literal(given: str) -> Any:
    try:
        found = ast.literal_eval(given.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        example = "[('l0', 5, 1), ('l1', 3, 3)]"
        raise UsageError(f"irreps {given!r:.80}: expected a list of (label, copies, dimensions), {example}") from error
    one = isinstance(found, tuple) and len(found) == 3 and isinstance(found[0], str)
    return [found] if one else found


def _from_notation(given: str) -> tuple[tuple[int, int], ...]:
    known = o3()
    try:
        parts = known.Irreps(given)
    except (ValueError, AssertionError) as error:
        raise UsageError(
            f"irreps {given!r}: cannot be read; expected copies, 'x', l and 'e', as in {EXAMPLE}"
        ) from error
    for part in parts:
        if part.ir.p != 1:
            raise UsageError(f"irreps {given!r}: parity means nothing under rotations alone: write {part.ir.l}e")
    return tuple((int(part.mul), int(part.ir.l)) for part in parts)


def _from_list(given: Any) -> tuple[tuple[int, int], ...]:
    o3()  # a config read today must have its generators tomorrow
    if not isinstance(given, Sequence):
        raise UsageError(f"irreps {given!r}: expected {EXAMPLE} or a list of (label, copies, dimensions)")
    return tuple(_from_entry(entry) for entry in given)


def _from_entry(entry: Any) -> tuple[int, int]:
    whole = isinstance(entry, Sequence) and len(entry) == 3 and isinstance(entry[0], str)
    if not whole or not all(isinstance(number, int) for number in entry[1:]):
        raise UsageError(f"irreps: expected (label, copies, dimensions) as in ('l1', 3, 3), got {entry!r}")
    label, copies, dim = entry
    if dim < 1 or dim % 2 == 0:
        raise UsageError(f"irreps: {entry!r} has {dim} dimensions; those of SO(3) are odd, 2 l + 1")
    order = (dim - 1) // 2
    number = label.lstrip("lℓ")
    if number.isdigit() and int(number) != order:
        raise UsageError(f"irreps: {entry!r} names l = {number}, which has {2 * int(number) + 1} dimensions, not {dim}")
    return copies, order


def o3() -> Any:
    """Return the module ``e3nn.o3``.

    Raises:
        UsageError: e3nn is not installed.
    """
    try:
        with torch.device("cpu"):  # it loads tables when it is imported, also inside torch.device("meta")
            import e3nn.o3
    except ImportError as error:
        raise UsageError("gauge: needs e3nn, which is not installed (pip install 'heedful[gauge]')") from error
    return e3nn.o3
