"""Jensen-Shannon divergence of rows over common keys."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from tests.evaluation.material import call_of, planted_call, probed_call_of

from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense_weights
from heedful.attention.visibility import bidirectional, causal, padding
from heedful.evaluation.query_probes import by_position, jensen_shannon, query_variation

ALL = torch.ones(16, dtype=torch.bool)


def random_rows(count: int, keys: int = 16) -> torch.Tensor:
    return torch.rand(count, keys, generator=torch.Generator().manual_seed(0)).softmax(-1)


def test_equal_rows_do_not_diverge_and_disjoint_ones_by_log_two() -> None:
    rows = random_rows(3)
    assert jensen_shannon(rows, rows, ALL).tolist() == pytest.approx([0.0] * 3, abs=1e-7)
    one, other = torch.eye(16)[2], torch.eye(16)[9]
    assert float(jensen_shannon(one, other, ALL)) == pytest.approx(math.log(2))


def test_it_is_scipys_distance_squared_and_symmetric() -> None:
    left, right = random_rows(5)[:4], random_rows(5)[1:]
    found = jensen_shannon(left, right, ALL)
    expected = [jensenshannon(a, b) ** 2 for a, b in zip(left.numpy(), right.numpy(), strict=True)]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(found, jensen_shannon(right, left, ALL))


@pytest.mark.parametrize(("common", "defined"), [(8, True), (7, False)])
def test_fewer_than_eight_common_keys_are_undefined(common: int, defined: bool) -> None:
    value = jensen_shannon(*random_rows(2), torch.arange(16) < common)
    assert bool(value.isfinite()) is defined


def test_rows_are_cut_to_common_keys_and_renormalised() -> None:
    left, right = random_rows(2)
    common = torch.arange(16) < 10
    right = right.clone()
    right[10:] *= 100
    expected = jensenshannon(left[:10].numpy(), right[:10].numpy()) ** 2
    assert float(jensen_shannon(left, right, common)) == pytest.approx(expected, abs=1e-6)


def test_a_row_without_weight_on_the_common_keys_is_undefined() -> None:
    assert jensen_shannon(torch.eye(16)[15], random_rows(1)[0], torch.arange(16) < 10).isnan()


def test_mean_patterns_diverge_by_at_most_the_mean_divergence() -> None:
    left, right = (random_rows(6)[None].repeat(5, 1, 1) for _ in range(2))
    right = right.roll(1, 1)
    own = jensen_shannon(left, right, ALL)
    torch.testing.assert_close(by_position(left, right, ALL), own)
    noise = torch.rand(5, 6, 16, generator=torch.Generator().manual_seed(1)).softmax(-1)
    own = jensen_shannon(left * noise, right * noise.flip(0), ALL)
    assert bool((by_position(left * noise, right * noise.flip(0), ALL)[0] < own.mean(0)).all())


def test_one_sequence_cannot_tell_position_from_content() -> None:
    assert by_position(random_rows(2)[None], random_rows(2)[None], ALL).isnan().all()


def brute(call: AttentionCall, lag: int) -> np.ndarray:
    weights = dense_weights(call).numpy()
    index = torch.linspace(min(18, call.n_queries - 1), call.n_queries - 1, 12).round().long().unique().tolist()
    found = np.zeros((call.batch, call.heads))
    for b in range(call.batch):
        for h in range(call.heads):
            pairs = [(weights[b, h, i], weights[b, h, i - lag]) for i in index]
            found[b, h] = np.mean(
                [jensenshannon(x[: i - lag + 1], y[: i - lag + 1]) ** 2 for i, (x, y) in zip(index, pairs, strict=True)]
            )
    return found


def test_lagged_divergences_are_those_of_the_weights() -> None:
    call = call_of(length=40, gain=2.0)
    found = query_variation(probed_call_of(call))
    for name, lag in (("adjacent", 1), ("distant", 10)):
        np.testing.assert_allclose(found[name], brute(call, lag), atol=1e-5)
        assert (found[f"{name}_by_position"] < found[name].mean(0) + 1e-6).all()


def test_a_pattern_of_position_is_the_same_in_every_document_and_all_of_its_own_variation() -> None:
    logits = torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(0)).expand(4, -1, -1, -1)
    found = query_variation(probed_call_of(planted_call(3 * logits)))
    assert found["other_document"].max() < 1e-6
    for name in ("adjacent", "distant"):
        assert found[name].min() > 0.1
        torch.testing.assert_close(found[name], found[f"{name}_by_position"], rtol=1e-4, atol=1e-5)


def test_content_differs_between_documents() -> None:
    assert query_variation(probed_call_of(call_of(length=40, gain=2.0)))["other_document"].min() > 0.05


@pytest.mark.parametrize(
    ("call", "undefined"),
    [
        (call_of(batch=1, length=40), {"other_document", "adjacent_by_position", "distant_by_position"}),
        (call_of(length=8), {"other_document", "adjacent", "distant", "adjacent_by_position", "distant_by_position"}),
    ],
    ids=["one sequence", "short"],
)
def test_what_cannot_be_compared_is_undefined(call: AttentionCall, undefined: set[str]) -> None:
    found = query_variation(probed_call_of(call))
    assert {name for name, value in found.items() if value.isnan().all()} == undefined


def test_padded_rows_and_broken_heads_are_left_out() -> None:
    mask = torch.tensor([[1] * 40, [1] * 40, [1] * 25 + [0] * 15])
    call = call_of(batch=3, length=40, gain=2.0, visibility=bidirectional() & padding(mask))
    call.query[:, 1] = math.nan
    found = query_variation(probed_call_of(call))
    for name, value in found.items():
        assert value[:, 1].isnan().all(), name
        assert value[:, [0, 2]].isfinite().all(), name
    causal_call = call_of(batch=3, length=40, visibility=causal() & padding(mask.flip(1)))
    assert query_variation(probed_call_of(causal_call))["adjacent"].isfinite().all()
