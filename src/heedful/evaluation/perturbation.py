"""Change a later token and compare all earlier outputs: a test of causality that does not rely on masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from heedful.evaluation.running import main_output, run_model
from heedful.loading.batch import Batch

PLACES = (0.25, 0.5, 0.75, 1.0)
"""Where tokens are changed, as shares of the sequence; the last place is its last token."""


@dataclass(frozen=True)
class Leak:
    """What changing one token did to the positions before it.

    Attributes:
        position: Position of the changed token.
        before: Largest change of any output before it, relative to the largest output.
        after: The same at and after it: 0 means that the change did nothing, and the test says nothing.
    """

    position: int
    before: float
    after: float


def future_leaks(model: nn.Module, batch: Batch) -> list[Leak]:
    """Change one token of each sequence at several places and compare the model's outputs.

    Args:
        model: The model, in evaluation mode.
        batch: A few sequences without padding; each changed token becomes another one of the batch.

    Returns:
        One record a place.
    """
    length = int(batch.attention_mask.sum(1).min())
    with torch.no_grad():
        plain = main_output(run_model(model, batch.input_ids, batch.attention_mask)).float()
        leaks = []
        for share in PLACES:
            position = max(1, min(length - 1, round(share * length) - 1))
            ids = batch.input_ids.clone()
            for row in range(len(ids)):
                different = batch.input_ids[batch.input_ids != ids[row, position]]
                if len(different):
                    ids[row, position] = different[len(different) // 2]
            changed = main_output(run_model(model, ids, batch.attention_mask)).float()
            gap = (changed - plain).abs().nan_to_num(0)
            scale = float(plain.abs().nan_to_num(0).amax()) or 1.0
            before = float(gap[:, :position].amax()) / scale if position else 0.0
            leaks.append(Leak(position, before, float(gap[:, position:].amax()) / scale))
    return leaks
