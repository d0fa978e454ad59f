"""Which units each ranking leaves out first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from heedful.compression.curves import unit_plans
from heedful.compression.order import Cuts, head_units, layer_units
from heedful.compression.redundancy import LayerKeys


def layer(name: str, ranks: list[float], cosines: list[float]) -> LayerKeys:
    """Two query heads to a key head; the same in both sequences."""
    nothing = torch.zeros(len(ranks), 4)
    shapes = (np.array([ranks, ranks]), np.array([cosines, cosines]))
    return LayerKeys(name, 2 * len(ranks), len(ranks), 4, *shapes, nothing, nothing)


def first(part: str, price: Any = None) -> dict[str, set[tuple[str, int]]]:
    """Ranking to the heads that its first step leaves out."""
    layers = [layer("a", [9.0, 3.0], [0.1, 0.2]), layer("b", [8.0, 7.0], [0.9, 0.3])]
    units = layer_units(layers) if part == "layers" else head_units(layers)
    context: Any = SimpleNamespace(seed=0)
    cuts = Cuts(fractions=(0.25 if part == "heads" else 0.5,), orders=2)
    found = {}
    for plan in unit_plans(context, layers, part, units, price, cuts):
        gone = plan.steps[0][2][0].heads
        found[plan.ranking] = {(module, head) for module, heads in gone.items() for head in heads}
    return found


def test_lowest_rank_highest_cosine_and_lowest_price_go_first() -> None:
    price = np.array([[5.0, 4.0, 3.0, 1.0, 2.0, 9.0, 9.0, 9.0]] * 2)
    found = first("heads", price)
    assert found["effective rank"] == {("a", 2), ("a", 3)}  # of key head 1, whose rank is 3
    assert found["centred cosine"] == {("b", 0), ("b", 1)}
    assert found["price"] == {("a", 3), ("b", 0)}
    assert len(found["random"]) == 2


def test_a_layer_goes_as_a_whole_by_the_mean_of_its_key_heads() -> None:
    found = first("layers")
    assert found["effective rank"] == {("a", head) for head in range(4)}  # mean 6 against 7.5
    assert found["centred cosine"] == {("b", head) for head in range(4)}
    assert "price" not in found


def test_a_saving_is_as_wide_as_the_orders_spread() -> None:
    """Documents that all say the same leave the orders alone: Student's t of their mean."""
    from heedful.compression.curves import _saved
    from heedful.inference.mean_interval import Effect

    context: Any = SimpleNamespace(
        loss_effect=lambda values: Effect(estimate=values.mean(), low=values.mean(), high=values.mean(), n=20)
    )
    random = np.repeat(np.array([[1.0], [2.0], [3.0]]), 20, axis=1)
    saved = _saved(context, np.zeros(20), random)
    assert np.allclose([saved.low, saved.estimate, saved.high], [2 - 2.484, 2, 2 + 2.484], atol=1e-3)


def test_no_document_both_ranks_and_prices() -> None:
    from dataclasses import replace

    from tests.evaluation.checks.planted import random_ids, sequences_of
    from tests.interception.models import tiny

    from heedful.compression.loss_context import evaluation_context
    from heedful.compression.pruning import _halves
    from heedful.evaluation.study import no_progress

    text = replace(sequences_of(random_ids(6, 12)), document=torch.tensor([0, 1, 2, 0, 1, 4]))
    halves = _halves(evaluation_context(tiny("llama"), text, seed=0, resamples=99, progress=no_progress))
    documents = [set(half.sequences.document.tolist()) for half in halves]
    assert documents == [{0, 2}, {1, 4}]
    assert [sum(len(batch.index) for batch in half.batches) for half in halves] == [3, 3]
