"""Record of one attention module in a session."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from heedful.interception.sequence_means import DecodedSequences


def head_label(module: nn.Module, layer: int, head: int, call: int = 1) -> str:
    """Return a head's label: ``L0H0``, the model's own ``head_labels`` if any, and the call number of a shared module.

    Args:
        module: The attention module.
        layer: Index of the call in the order of first calls.
        head: Index of the head.
        call: Which call of the module in one forward it is, from 1.
    """
    labels = getattr(module, "head_labels", None)
    named = f" {labels[head]}" if labels is not None and head < len(labels) else ""
    return f"L{layer}H{head}{named}" + (f" call {call}" if call > 1 else "")


def call_number(path: str) -> int:
    """Return the number of a module's call within one forward, from 1, as given in its path."""
    return int(path.rpartition("#")[2]) if "#" in path else 1


@dataclass
class CallRecord:
    """Record of one attention module in a session.

    Attributes:
        path: Module path (``#2`` ... where the module runs again in one forward).
        module: The attention module.
        layer: Index of the module in the order of first calls.
        heads: Number of query heads.
        listed: The heads that are measured, by index: all, or those asked for.
        way: How its calls were met.
        values: Statistic to list of ``(batch, head)`` means over judged rows, one entry a call; calls that decode
            further rows of the same sequences are part of the entry that they continue.
        rows: Rows judged; ``short_rows`` saw fewer than 8 keys, ``empty_rows`` none.
        error: Largest relative difference between the module's own output and the recomputed one; NaN where a call
            showed no values.
        verified: Whether that error is within what rounding explains, for every call.
        broken: Heads of which a row that sees keys was not finite: their statistics are null.
    """

    path: str
    module: nn.Module
    layer: int
    heads: int
    listed: tuple[int, ...]
    way: str
    values: dict[str, list[Tensor]] = field(default_factory=dict)
    rows: int = 0
    short_rows: int = 0
    empty_rows: int = 0
    error: float = 0.0
    verified: bool = True
    broken: set[int] = field(default_factory=set)
    sequences: DecodedSequences = field(default_factory=DecodedSequences)
