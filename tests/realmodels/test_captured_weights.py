"""What is captured of trained models is what their own eager attention weights say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import heedful
from heedful.attention.axes import MIN_VISIBLE
from heedful.evaluation.running import run_model

pytestmark = pytest.mark.realmodels
SEQUENCES = 2


def _eager(model: nn.Module, ids: Tensor, mask: Tensor) -> list[Tensor]:
    """Weights ``(batch, head, query, key)`` of each layer: transformers' own, or those of ``nn.MultiheadAttention``."""
    if hasattr(model, "set_attn_implementation"):
        before = model.config._attn_implementation
        model.set_attn_implementation("eager")
        try:
            return list(model(input_ids=ids, attention_mask=mask, output_attentions=True).attentions)
        finally:
            model.set_attn_implementation(before)
    kept: list[Tensor] = []
    wanted = {"need_weights": True, "average_attn_weights": False}
    parts = [module for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    hooks = [
        hook
        for part in parts
        for hook in (
            part.register_forward_pre_hook(lambda _, given, named: (given, named | wanted), with_kwargs=True),
            part.register_forward_hook(lambda _, given, output: kept.append(output[1])),
        )
    ]
    try:
        run_model(model, ids, mask)
    finally:
        for hook in hooks:
            hook.remove()
    return kept


def _means(weights: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Per head, the mean over sequences of means over rows that see at least ``MIN_VISIBLE`` keys."""
    weights = weights.double()
    visible = (weights > 0).sum(-1)
    judged = (mask[:, None].bool() & (visible >= MIN_VISIBLE)).double()
    previous = weights.diagonal(offset=-1, dim1=-2, dim2=-1)
    rows = {
        "row_entropy": -torch.xlogy(weights, weights).sum(-1),
        "max_weight": weights.amax(-1),
        "sink_mass": weights[..., 0],
        "self_mass": weights.diagonal(dim1=-2, dim2=-1),
        "previous_mass": torch.cat([torch.zeros_like(previous[..., :1]), previous], -1),
    }
    counted = dict.fromkeys(rows, judged)
    counted["previous_mass"] = judged * (torch.arange(judged.shape[-1]) > 0)
    return {name: ((row * counted[name]).sum(-1) / counted[name].sum(-1)).mean(0) for name, row in rows.items()}


@pytest.mark.parametrize("name", ["minilm", "antiberty", "rxnfp", "anarcii", "smollm2"])
def test_statistics_of_every_head_are_those_of_the_eager_weights(name: str, real: Callable[[str], Any]) -> None:
    model, sequences = real(name).loaded.model, real(name).sequences
    ids, mask = sequences.input_ids[:SEQUENCES], sequences.attention_mask[:SEQUENCES]
    with torch.no_grad():
        with heedful.capture(model) as session:
            run_model(model, ids, mask)
        weights = _eager(model, ids, mask)
    table = session.heads()
    assert table["verified"].all() and not session.not_captured
    assert table.height == sum(layer.shape[1] for layer in weights)
    for statistic in ("row_entropy", "max_weight", "sink_mass", "self_mass", "previous_mass"):
        expected = torch.cat([_means(layer, mask)[statistic] for layer in weights])
        found = torch.tensor(table[statistic].to_list(), dtype=torch.float64)
        assert (found - expected).abs().max() < 2e-4, (name, statistic)


@pytest.mark.parametrize("name", ["minilm", "antiberty", "rxnfp", "anarcii"])
def test_every_module_is_proved_both_ways(name: str, real: Callable[[str], Any]) -> None:
    model, sequences = real(name).loaded.model, real(name).sequences
    ids, mask = sequences.input_ids[:SEQUENCES], sequences.attention_mask[:SEQUENCES]
    proofs = heedful.verify(model, lambda: run_model(model, ids, mask))
    assert proofs and all(proof.recomputed and proof.replaced for proof in proofs), proofs
