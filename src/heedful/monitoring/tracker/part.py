"""Extension point of the tracker: features may add sums to a call, rows to a head, columns and a line to steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from heedful.interception.event import AttentionEvent
from heedful.monitoring.vectors.sums import Sums
from heedful.monitoring.vectors.vectors import Sample
from heedful.plugins import Registry

Row = Mapping[str, Any]


@dataclass(frozen=True)
class TrackerPart:
    """Functions by which one feature extends a recorded step; it is registered under the name that its table rows
    carry.

    Attributes:
        sums: From a call, the sample and how often was measured before to sums that merge over processes; no sums
            where the call has nothing of this part.
        rows: From merged sums to the columns of each head, one mapping a head.
        step: From the model and the token ids of its forward (None where they were not given by name) to columns of
            the step's own row.
        line: From the rows of a step to lines of at most 80 columns; the empty string where there is nothing to say.
    """

    sums: Callable[[AttentionEvent, Sample, int], Sums]
    rows: Callable[[Sums], list[dict[str, float]]]
    step: Callable[[nn.Module, Tensor | None], dict[str, Tensor]]
    line: Callable[[Sequence[Row]], str]


TRACKER_PARTS: Registry[TrackerPart] = Registry("tracker", "tracker part")
