"""Test causality without relying on masks: change a later token and compare all earlier outputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from heedful.evaluation.output_layer import OutputLayer
from heedful.evaluation.running import main_output, run_model
from heedful.loading.batch import Batch

PLACES = (0.25, 0.5, 0.75, 1.0)
"""Where tokens are changed, as shares of the sequence; the last place is its last token."""


@dataclass(frozen=True)
class Leak:
    """The effect of changing one token on the outputs at earlier positions.

    Attributes:
        position: Position of the changed token.
        before: Largest change of any output before it, relative to the largest output.
        after: The same at and after it: 0 means that the change did nothing, and the test says nothing.
    """

    position: int
    before: float
    after: float


def future_leaks(model: nn.Module, batch: Batch, layer: OutputLayer | None = None) -> list[Leak]:
    """Change one token of each sequence, each at another position, and compare earlier outputs.

    Args:
        model: The model, in evaluation mode.
        batch: A few sequences without padding; each changed token becomes another one of the batch.
        layer: The output layer: hidden states before it are compared, which hold all that logits do.

    Returns:
        One record a place; a batch of fewer sequences than there are places changes all of them at each.
    """
    length = int(batch.attention_mask.sum(1).min())
    positions = [max(1, min(length - 1, round(share * length) - 1)) for share in PLACES]
    with torch.no_grad():
        plain = _output(model, batch.input_ids, batch, layer)
        scale = float(plain.abs().nan_to_num(0).amax()) or 1.0
        if len(plain) < len(PLACES):
            rounds = [[position] * len(plain) for position in positions]
        else:
            rounds = [[positions[row % len(positions)] for row in range(len(plain))]]
        found: dict[int, tuple[float, float]] = dict.fromkeys(positions, (0.0, 0.0))
        for chosen in rounds:
            ids = batch.input_ids.clone()
            for row, position in enumerate(chosen):
                different = batch.input_ids[batch.input_ids != ids[row, position]]
                if len(different):
                    ids[row, position] = different[len(different) // 2]
            gap = (_output(model, ids, batch, layer) - plain).abs().nan_to_num(0) / scale
            for row, position in enumerate(chosen):
                before, after = float(gap[row, :position].amax()), float(gap[row, position:].amax())
                found[position] = (max(found[position][0], before), max(found[position][1], after))
    return [Leak(position, *found[position]) for position in positions]


def _output(model: nn.Module, ids: Tensor, batch: Batch, layer: OutputLayer | None) -> Tensor:
    if layer is not None:
        return layer.hidden_of(model, ids, batch.attention_mask).float()
    return main_output(run_model(model, ids, batch.attention_mask)).float()
