"""Scale the output of derived heads relative to the residual stream, measured in the running model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from heedful.errors import InputRejected, UsageError
from heedful.ngrams.derivation.head import HeadMatrices
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM


def residual_outputs(
    model: HeedfulDerivedForCausalLM, heads: Sequence[Sequence[HeadMatrices]], documents: Sequence[np.ndarray]
) -> list[list[HeadMatrices]]:
    """Return heads whose output matrices add to the residual stream a contribution as large as the stream itself.

    Every head of a layer gets the same root mean square, and their sum that of the stream, over all positions of the
    text: the stream's root mean square at most doubles in a layer, however heads agree. Layers are met one after the
    other, each behind those that are done, in the model itself, whose matrices change with those returned.

    Args:
        model: It holds the heads already.
        heads: By layer.
        documents: Token numbers, ``(position,)`` each.

    Returns:
        The heads with other outputs.

    Raises:
        UsageError: There is no text.
        InputRejected: A head adds nothing, so that no factor makes it something.
    """
    if not len(documents):
        raise UsageError("value_calibration 'residual' wants text; none came")
    found = []
    for number, layer in enumerate(heads):
        projection, dim = model.model.layers[number].attention.o_proj, model.config.head_dim
        stream, mixed = _captured(model, number, documents)
        weight = projection.weight.detach()
        parts = [mixed[:, at : at + dim] @ weight[:, at : at + dim].T for at in range(0, len(layer) * dim, dim)]
        sizes = [_size(part) for part in parts]
        if not min(sizes) > 0:
            raise InputRejected(
                "counts", f"head {sizes.index(min(sizes))} of layer {number} adds nothing", "count more"
            )
        together = sum((part / size for part, size in zip(parts, sizes, strict=True)), torch.zeros_like(stream))
        factors = [_size(stream) / _size(together) / size for size in sizes]
        with torch.no_grad():
            for head, factor in enumerate(factors):
                projection.weight[:, head * dim : (head + 1) * dim] *= factor
        found.append([head.scaled(output=factor) for head, factor in zip(layer, factors, strict=True)])
    return found


def _size(vectors: Tensor) -> float:
    """Root mean square."""
    return float(vectors.double().square().mean().sqrt())


def _captured(model: HeedfulDerivedForCausalLM, number: int, documents: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """The stream before a layer, ``(position, width)``, and its heads' mixed values, ``(position, head * dim)``."""
    layer = model.model.layers[number]
    streams: list[Tensor] = []
    mixed: list[Tensor] = []

    def stream_in(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        streams.append(given[0].detach().flatten(0, 1))

    def values_in(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        mixed.append(given[0].detach().flatten(0, 1))

    hooks = [
        layer.register_forward_pre_hook(stream_in),
        layer.attention.o_proj.register_forward_pre_hook(values_in),
    ]
    try:
        with torch.no_grad():
            for tokens in documents:
                model.model(torch.from_numpy(np.asarray(tokens))[None])
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(streams), torch.cat(mixed)
