"""What goes through the models: sequences of three lengths, pictures and sounds."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from architectures.case import Batch, Runs

VOCABULARY, LENGTHS, TARGETS = 61, (24, 17, 13), (15, 11, 9)
"""Sources and targets of three lengths, so that every row of the shortest can be told from padding."""

Source = Callable[[nn.Module], dict[str, Any]]


def noise(*shape: int, seed: int = 4) -> Tensor:
    """Normal numbers, always the same."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ids(lengths: tuple[int, ...] = LENGTHS, seed: int = 4, low: int = 3) -> list[Tensor]:
    """Token ids of each sequence, special ones left out."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(low, VOCABULARY, (length,), generator=generator) for length in lengths]


def padded(sequences: list[Tensor], side: str, fill: float = 0) -> tuple[Tensor, Tensor]:
    """Sequences beside one another with ``fill`` on one side, and the mask of what is real."""
    most = max(len(one) for one in sequences)
    values = sequences[0].new_full((len(sequences), most, *sequences[0].shape[1:]), fill)
    real = torch.zeros(len(sequences), most, dtype=torch.bool)
    for row, one in enumerate(sequences):
        place = slice(most - len(one), most) if side == "left" else slice(0, len(one))
        values[row, place] = one
        real[row, place] = True
    return values, real


def accepts(model: nn.Module, name: str) -> bool:
    """Whether the model's forward takes an argument of this name."""
    return name in inspect.signature(model.forward).parameters


def _one(extra: dict[str, Any], row: int) -> dict[str, Any]:
    return {
        name: value[row : row + 1] if isinstance(value, Tensor) and value.dim() else value
        for name, value in extra.items()
    }


def text(
    *sides: str, extra: Source | None = None, masked: bool = True, lengths: tuple[int, ...] = LENGTHS, pooled: int = 1
) -> Callable[[nn.Module], Runs]:
    """Token ids, padded on the sides named.

    Args:
        sides: ``right``, ``left``.
        extra: Further arguments of the batch of three (pictures), tensors sliced by sequence.
        masked: Whether the model takes a mask.
        lengths: Of the sequences.
        pooled: Positions that some layers make one of.
    """

    def runs(model: nn.Module) -> Runs:
        sequences, more = ids(lengths), extra(model) if extra else {}
        alone = [Batch({"input_ids": one[None], **_one(more, row)}) for row, one in enumerate(sequences)]
        batches = {}
        for side in sides if masked else ():
            values, real = padded(sequences, side)
            inputs = {"input_ids": values, "attention_mask": real.long(), **more}
            if side == "left" and accepts(model, "position_ids"):
                inputs["position_ids"] = (real.long().cumsum(-1) - 1).clamp_min(0)
            batches[side] = Batch(inputs, (real,) if pooled == 1 else (real, real[:, ::pooled]))
        return Runs(alone, batches)

    return runs


def text_to_text(model: nn.Module) -> Runs:
    """Padded sources and padded targets."""
    sources, targets = ids(), ids(TARGETS, 5)
    alone = [
        Batch({"input_ids": one[None], "decoder_input_ids": two[None]}, (one[None] > 0, two[None] > 0))
        for one, two in zip(sources, targets, strict=True)
    ]
    (source, real), (target, written) = padded(sources, "right"), padded(targets, "right")
    inputs = {
        "input_ids": source,
        "attention_mask": real.long(),
        "decoder_input_ids": target,
        "decoder_attention_mask": written.long(),
    }
    return Runs(alone, {"right": Batch(inputs, (real, written))})


def whole(inputs: Source) -> Callable[[nn.Module], Runs]:
    """One batch of what cannot be padded."""
    return lambda model: Runs([Batch(inputs(model))])


def side_of(model: nn.Module) -> int:
    """Width of the pictures that a model takes."""
    config: Any = getattr(model, "config", None)
    side = getattr(config, "input_size", None) or getattr(config, "image_size", None)
    side = side or getattr(getattr(config, "image_config", None), "image_size", None)
    side = side or getattr(getattr(config, "vision_config", None), "image_size", None)
    if isinstance(side, list | tuple):
        side = side[0]
    return int(side or 64)


def pixels(model: nn.Module) -> dict[str, Any]:
    """Three pictures."""
    side = side_of(model)
    return {"pixel_values": noise(3, 3, side, side)}
