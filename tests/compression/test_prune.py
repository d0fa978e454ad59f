"""The price of leaving attention out, on models in which it is known what may go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.evaluation.checks.planted import random_ids, sequences_of
from tests.evaluation.material import call_of
from tests.interception.models import KernelModel, tiny
from tests.interception.state import snapshot
from torch import nn

import heedful
from heedful.attention.engines.dense import dense
from heedful.compression.order import Cuts, numbers, ordered, taken, without_dimensions
from heedful.compression.prune import prune
from heedful.compression.record import Curve, Pruning
from heedful.compression.redundancy import layer_keys
from heedful.errors import CaptureError, UsageError
from heedful.loading.sequences import TokenBatch
from heedful.reporting.pages.part import record_json

FEW = Cuts(fractions=(0.25,), orders=2)


def text(documents: int = 36, length: int = 20) -> TokenBatch:
    return sequences_of(random_ids(documents, length, vocabulary=61))


def curve(found: Pruning, part: str, ranking: str) -> Curve:
    return next(one for one in found.curves if (one.part, one.ranking) == (part, ranking))


def with_idle_head(layer: int = 1, head: int = 2) -> Any:
    """A model one of whose heads writes nothing, and whose keys there (and its group's) lie on a line."""
    model = tiny("llama")
    attention = model.model.layers[layer].self_attn
    with torch.no_grad():
        attention.o_proj.weight[:, head * 8 : (head + 1) * 8] = 0
    return model


def with_keys_on_a_line(layer: int = 0, key_head: int = 1) -> Any:
    """A model in which one key head has keys along one component that is never rotated far: the slowest one."""
    model = tiny("llama")
    weight = model.model.layers[layer].self_attn.k_proj.weight
    with torch.no_grad():
        kept = weight[key_head * 8 + 3].clone()
        weight[key_head * 8 : (key_head + 1) * 8] = 0
        weight[key_head * 8 + 3] = kept
    return model


@pytest.fixture(scope="module")
def idle() -> Pruning:
    return prune(with_idle_head(), text(), cuts=Cuts(fractions=(0.1, 0.5), orders=3))


def test_a_head_that_writes_nothing_costs_nothing_and_is_the_cheapest(idle: Pruning) -> None:
    heads = [unit for unit in idle.units if unit.part == "heads"]
    prices = {(unit.layer, unit.head): unit.price for unit in heads}
    assert len(heads) == 8 and prices[1, 2] is not None
    assert prices[1, 2].estimate == pytest.approx(0, abs=1e-6)
    assert all(price is not None and abs(price.estimate) > 1e-4 for place, price in prices.items() if place != (1, 2))
    assert sum(unit.part == "layers" for unit in idle.units) == 2


def test_loss_without_a_layer_is_that_of_the_replaced_model(idle: Pruning) -> None:
    """Half of two layers by price: the cheaper one, on the documents that price."""
    model, sequences = with_idle_head(), text()
    layers = [unit for unit in idle.units if unit.part == "layers"]
    cheaper = min(layers, key=lambda unit: unit.price.estimate if unit.price else np.inf)
    ids = sequences.input_ids[1::2]

    def loss() -> float:
        logits = model(input_ids=ids).logits[:, :-1].flatten(0, 1)
        return float(torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten()))

    with torch.no_grad():
        plain = loss()
        with heedful.replace(model, "zero", layers=[cheaper.module]):
            without = loss()
    point = curve(idle, "layers", "price").points[-1]
    assert point.removed == 1 and point.loss is not None
    assert point.loss.estimate == pytest.approx(without - plain, abs=1e-5)


def test_saving_is_random_less_ranking_and_holds_orders_too(idle: Pruning) -> None:
    saving = next(one for one in idle.savings if (one.part, one.ranking, one.fraction) == ("heads", "price", 0.5))
    random, own = curve(idle, "heads", "random").points[1], curve(idle, "heads", "price").points[1]
    assert random.loss is not None and own.loss is not None and len(random.orders) == 3
    assert saving.saved.estimate == pytest.approx(random.loss.estimate - own.loss.estimate, abs=1e-6)
    spread = np.std(random.orders, ddof=1) / np.sqrt(3) * 4.30265
    assert saving.saved.estimate - saving.saved.low >= spread * 0.999 and saving.saved.high > saving.saved.low
    low, high = saving.saved.low, saving.saved.high
    assert saving.p in (0.25, 0.5, 0.75, 1.0)  # of four orders
    assert saving.answer == ("not beyond chance" if low > 0 else "no" if high < 0 else "not settled")
    assert len(idle.savings) == 3 + (3 + 2) * 2  # a tenth and a half of two layers are the same one


def test_keys_on_a_line_have_the_lowest_rank_and_go_first() -> None:
    found = prune(with_keys_on_a_line(), text(), cuts=Cuts(parts=("heads",), fractions=(0.25,), orders=2, each_alone=0))
    ranks = [unit.effective_rank.estimate for unit in found.units if unit.part == "heads"]
    assert {int(k) for k in np.argsort(ranks)[:2]} == {2, 3} and max(ranks[2:4]) < 2.01 < min(ranks[:2] + ranks[4:])
    assert {one.what for one in _named(found)} == {"price of each of the heads alone"}
    assert all(unit.price is None for unit in found.units)
    assert {one.ranking for one in found.curves} == {"effective rank", "centred cosine", "random"}


def _named(found: Pruning) -> list[Any]:
    from types import SimpleNamespace

    return [SimpleNamespace(**one) for one in found.not_measured]


def test_dimensions_go_in_pairs_that_rotate_together_and_the_least_contribution_first() -> None:
    from heedful.compression.loss_context import evaluation_context
    from heedful.compression.order import without_dimensions_of
    from heedful.evaluation.study import no_progress

    model = tiny("llama")
    with torch.no_grad():  # a pair of key head 0 whose keys are 0
        model.model.layers[0].self_attn.k_proj.weight[[2, 6]] = 0
    context = evaluation_context(model, text(), seed=0, resamples=199, progress=no_progress)
    layers, _ = layer_keys(context, context.batches)
    assert layers[0].groups == [[0, 4], [1, 5], [2, 6], [3, 7]]
    gone = without_dimensions_of(layers, "contribution", 0.25, 0).dimensions[layers[0].module]
    assert gone[0].nonzero()[:, 0].tolist() == [2, 6] and gone.sum(1).tolist() == [2, 2]
    plain, _ = layer_keys(replace(context, model=tiny("gpt2")), context.batches)
    assert plain[0].groups == [[c] for c in range(8)]


def test_components_of_no_weight_cost_nothing() -> None:
    model = tiny("llama")
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.k_proj.weight.view(2, 8, 32)[:, [1, 5]] = 0
    found = prune(model, text(), cuts=Cuts(parts=("dimensions",), fractions=(0.25, 0.5), orders=2))
    for ranking in ("contribution", "key variance"):
        first, second = curve(found, "dimensions", ranking).points
        assert first.loss is not None and abs(first.loss.estimate) < 1e-6
        assert first.divergence is not None and first.divergence.estimate < 1e-9
        assert second.divergence is not None and second.divergence.estimate > 1e-3
    random = curve(found, "dimensions", "random").points[0]
    assert random.divergence is not None and random.divergence.estimate > 1e-3


def test_a_dimension_is_left_out_of_queries_and_keys_alike() -> None:
    call = call_of(heads=4, kv_heads=2)
    gone = torch.zeros(2, 8, dtype=torch.bool)
    gone[1, [2, 5]] = True
    query, key = call.query.clone(), call.key.clone()
    query[:, 2:, :, [2, 5]], key[:, 1, :, [2, 5]] = 0, 0
    found, expected = dense(without_dimensions(call, gone)).output, dense(replace(call, query=query, key=key)).output
    assert found is not None and expected is not None and torch.allclose(found, expected)


def test_labels_are_the_next_tokens() -> None:
    """A model that copies what it was fed would look perfect by unshifted labels; that must be seen."""
    from heedful.compression.loss_context import evaluation_context, judged_labels, label_losses
    from heedful.evaluation.study import no_progress

    class Copies(nn.Module):
        def __init__(self, ahead: int) -> None:
            super().__init__()
            self.ahead, self.weight = ahead, nn.Parameter(torch.eye(61) * 9)

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return self.weight[(input_ids + self.ahead) % 61]

    ids = (torch.arange(20)[None] + torch.arange(18)[:, None]) % 61
    for ahead, answer in ((1, "yes"), (0, "no")):
        context = evaluation_context(Copies(ahead), sequences_of(ids), seed=0, resamples=199, progress=no_progress)
        context = replace(context, objective=replace(context.objective, name="next token"))
        losses = label_losses(context, context.batches, lambda: None)
        assert judged_labels(context, losses).answer == answer
        assert losses[:, 1 - ahead].max() < 0.02 < losses[:, 2].min()


def test_without_a_head_dimensions_alone_are_tried() -> None:
    found = prune(tiny("bert"), text(8), cuts=FEW)
    assert {one.part for one in found.curves} == {"dimensions"} and found.labels is None and found.savings == []
    point = curve(found, "dimensions", "contribution").points[0]
    assert point.loss is None and point.divergence is not None and point.divergence.estimate > 0
    assert [one["what"] for one in found.not_measured] == ["loss, and with it layers and heads"]


def test_the_model_is_as_before_and_a_second_run_says_the_same() -> None:
    model, sequences = tiny("llama").train(), text(4)
    before = snapshot(model)
    first = prune(model, sequences, cuts=FEW)
    assert snapshot(model) == before
    assert record_json(prune(model, sequences, cuts=FEW)) == record_json(first)
    assert {one.answer for one in first.savings} == {"insufficient data"}


def test_an_order_that_is_one_of_many_is_not_beyond_chance() -> None:
    """Of four layers one is idle: whoever draws a layer has it in a quarter of the orders."""
    from heedful.compression.curves import _answer, _p
    from heedful.inference.mean_interval import Effect

    documents = np.zeros((1, 20))
    random = np.repeat(np.array([0.0, 1.0, 1.0, 1.0] * 5)[:19, None], 20, axis=1)
    assert _p(documents[0], random) == (1 + 5) / 20 and _p(documents[0], random[1:4].repeat(7, 0)[:19]) == 1 / 20
    saved = Effect(estimate=0.7, low=0.4, high=1.0, n=20)
    assert _answer(saved, 0.3) == "not beyond chance" and _answer(saved, 0.05) == "yes"
    assert _answer(Effect(estimate=0.7, low=-0.1, high=1.0, n=20), 0.05) == "not settled"
    assert _answer(Effect(estimate=-0.7, low=-1.0, high=-0.1, n=20), 1.0) == "no"
    assert _answer(Effect(estimate=0.7, low=0.4, high=1.0, n=15), 0.05) == "insufficient data"


def test_orders_are_whole_and_ties_are_drawn() -> None:
    assert ordered(np.array([3.0, 1.0, np.nan, 2.0]), 0) == [1, 3, 0, 2]
    ties = {tuple(ordered(np.zeros(4), seed)) for seed in range(8)}
    assert len(ties) > 3 and all(sorted(one) == [0, 1, 2, 3] for one in ties)
    assert [taken(share, 8) for share in (0.01, 0.25, 0.99)] == [1, 2, 7]
    assert numbers((0.5, 0.1, 0.25, 0.75), 4) == [(0.25, 1), (0.5, 2), (0.75, 3)]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"parts": ("rows",)}, "layers, heads, dimensions; got rows"),
        ({"parts": ()}, "got none"),
        ({"fractions": (0.5, 1.0)}, r"between 0 and 1, got \[1.0\]"),
        ({"orders": 1}, "at least 2 random orders, got 1"),
        ({"each_alone": -1}, "0 or more, got -1"),
    ],
)
def test_bad_options_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Cuts(**options)


def test_bad_inputs_are_told() -> None:
    with pytest.raises(UsageError, match="at least 2 documents"):
        prune(tiny("llama"), text(1), cuts=FEW)
    with pytest.raises(CaptureError, match="no keys were captured"):
        prune(KernelModel().eval(), text(4), cuts=FEW)
