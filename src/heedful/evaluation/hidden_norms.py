"""Measure hidden-state norms at the input of each attention block, to detect massive activations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from heedful.evaluation.evidence import Array
from heedful.evaluation.running import run_model
from heedful.interception.uncompiled import module_at
from heedful.loading.batch import Batch


def hidden_norms(model: nn.Module, batches: Sequence[Batch], paths: Sequence[str]) -> dict[str, Array]:
    """Return the norm of each token's hidden state at the input of each attention block, ``(sequence, token)`` by path.

    The block is the module's parent: its first argument of shape ``(sequence, token, width)`` is the residual stream
    in decoders that normalise inside of the block. Source: Sun et al. 2024, arXiv:2402.17762 (massive activations).

    Args:
        model: The model, in evaluation mode; its hooks are as before afterwards.
        batches: What to run.
        paths: Attention modules.

    Returns:
        Module path to ``(sequence, token)``, NaN at padding; paths whose block takes no such argument are left out.
    """
    kept: dict[str, list[Tensor]] = {}
    blocks: dict[str, list[str]] = {}
    for path in paths:
        if "." in path:
            blocks.setdefault(path.rpartition(".")[0], []).append(path)

    def watcher(own: list[str], shape: list[Tensor]) -> object:
        def record(module: nn.Module, given: tuple[object, ...], named: dict[str, object]) -> None:
            mask = shape[-1]
            for value in (*given, *named.values()):
                if isinstance(value, Tensor) and value.dim() == 3 and value.shape[:2] == mask.shape:
                    norm = value.detach().double().norm(dim=-1).masked_fill(~mask.bool(), math.nan).cpu()
                    for path in own:
                        kept.setdefault(path, []).append(norm)
                    return

        return record

    masks: list[Tensor] = []
    handles = []
    try:
        for name, own in blocks.items():
            block = module_at(model, name)
            handles.append(block.register_forward_pre_hook(watcher(own, masks), with_kwargs=True))  # type: ignore[arg-type]
        with torch.no_grad():
            for batch in batches:
                masks.append(batch.attention_mask)
                run_model(model, batch.input_ids, batch.attention_mask)
    finally:
        for handle in handles:
            handle.remove()
    total = sum(len(batch.index) for batch in batches)
    joined = {path: torch.cat(parts) for path, parts in kept.items() if len({p.shape[1] for p in parts}) == 1}
    return {path: norms.numpy() for path, norms in joined.items() if len(norms) == total}
