"""Probes of rows against plain loops over the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.evaluation.material import batch_of, call_of, moments_changed, probed_call_of
from torch import Tensor

from heedful.attention.axes import DISTANCE_EDGES, MIN_VISIBLE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense_weights
from heedful.attention.engines.groups import Groups
from heedful.attention.engines.moments import Extras
from heedful.attention.visibility import Visibility, bidirectional, causal, padding
from heedful.evaluation.probes import distances, growth, integrity, representations, row_statistics, token_groups

LENGTH = 24
RIGHT = torch.tensor([[1] * LENGTH, [1] * 15 + [0] * 9])
SIGHTS: dict[str, Visibility] = {
    "causal": causal(),
    "window": causal(window=10),
    "both ways": bidirectional(),
    "padded right": causal() & padding(RIGHT),
    "padded left": causal() & padding(RIGHT.flip(1)),
}


def rows_of(call: AttentionCall) -> list[list[list[tuple[int, list[int], np.ndarray]]]]:
    """Position, visible keys and weights of every judged row, by sequence and head."""
    weights = dense_weights(call).numpy()
    seen = call.visibility.block(0, call.n_queries, 0, call.n_keys, call.n_queries, call.n_keys, call.query.device)
    seen = seen.expand(call.batch, call.heads, -1, -1)
    found = []
    for b in range(call.batch):
        found.append([])
        for h in range(call.heads):
            keys = [[j for j in range(call.n_keys) if seen[b, h, i, j]] for i in range(call.n_queries)]
            found[b].append([(i, k, weights[b, h, i]) for i, k in enumerate(keys) if len(k) >= MIN_VISIBLE])
    return found


def agree(found: Tensor, expected: list[list[object]]) -> None:
    torch.testing.assert_close(found.double(), torch.tensor(np.array(expected)), rtol=1e-4, atol=1e-5, equal_nan=True)


@pytest.fixture(params=SIGHTS, ids=str)
def call(request: pytest.FixtureRequest) -> AttentionCall:
    return call_of(visibility=SIGHTS[request.param], gain=2.0, kv_heads=1)


def test_statistics_are_means_over_judged_rows(call: AttentionCall) -> None:
    found = row_statistics(probed_call_of(call, extras=Extras(contrast=True)))
    rows = rows_of(call)
    agree(found["max_weight"], [[np.mean([w.max() for _, _, w in head]) for head in sequence] for sequence in rows])
    concentration = [
        [np.mean([np.log(len(k)) + (w[k] * np.log(w[k])).sum() for _, k, w in head]) for head in sequence]
        for sequence in rows
    ]
    agree(found["concentration"], concentration)
    assert "log_contrast" in found
    assert "log_contrast" not in row_statistics(probed_call_of(call))


def test_mass_by_distance_and_its_uniform_share(call: AttentionCall) -> None:
    def curve(head: list[tuple[int, list[int], np.ndarray]], uniform: bool) -> list[float]:
        bins = np.zeros((len(head), len(DISTANCE_EDGES)))
        for row, (i, keys, weights) in enumerate(head):
            for j in keys:
                bin_of = max(k for k, edge in enumerate(DISTANCE_EDGES) if abs(i - j) >= edge)
                bins[row, bin_of] += 1 / len(keys) if uniform else weights[j]
        return list(bins.mean(0))

    found = distances(probed_call_of(call, extras=Extras(distances=True)))
    agree(found["distance_mass"], [[curve(head, False) for head in sequence] for sequence in rows_of(call)])
    agree(found["distance_uniform"], [[curve(head, True) for head in sequence] for sequence in rows_of(call)])
    assert distances(probed_call_of(call)) == {}


def test_a_head_that_is_not_finite_leaves_the_uniform_share_whole() -> None:
    call = call_of()
    call.query[:, 0] = math.nan
    found = distances(probed_call_of(call, extras=Extras(distances=True)))
    assert torch.isfinite(found["distance_uniform"]).all()


def test_mass_and_share_of_special_and_punctuation_tokens(call: AttentionCall) -> None:
    marks = torch.rand(2, LENGTH, 2, generator=torch.Generator().manual_seed(1)) < 0.2
    marks[0, :, 1] = False

    def means(column: int, share: bool) -> list[list[float]]:
        found = []
        for b, sequence in enumerate(rows_of(call)):
            found.append([])
            for head in sequence:
                chosen = [(k, w, [j for j in k if marks[b, j, column]]) for _, k, w in head]
                values = [len(g) / len(k) if share else w[g].sum() for k, w, g in chosen if g]
                found[b].append(np.mean(values) if values else math.nan)
        return found

    found = token_groups(probed_call_of(call, extras=Extras(groups=Groups(keys=marks))))
    for column, name in enumerate(("special", "punctuation")):
        agree(found[f"{name}_mass"], means(column, False))
        agree(found[f"{name}_share"], means(column, True))
    assert found["punctuation_mass"][0].isnan().all()
    assert token_groups(probed_call_of(call)) == {}


def test_growth_compares_rows_of_few_keys_with_rows_of_many(call: AttentionCall) -> None:
    found = growth(probed_call_of(call))
    values: dict[str, list[list[float]]] = {name: [] for name in found}
    for sequence in rows_of(call):
        for name in values:
            values[name].append([])
        for head in sequence:
            middle = math.sqrt(MIN_VISIBLE * max(MIN_VISIBLE, *(len(k) for _, k, _ in head)))
            for side in ("short", "long"):
                chosen = [(k, w[k]) for _, k, w in head if (len(k) >= middle) == (side == "long")]
                kl = [math.log(len(k)) + float((w * np.log(w)).sum()) for k, w in chosen]
                values[f"concentration_{side}"][-1].append(np.mean(kl) if kl else math.nan)
                values[f"log_keys_{side}"][-1].append(
                    np.mean([math.log(len(k)) for k, _ in chosen]) if kl else math.nan
                )
    for name, expected in values.items():
        agree(found[name], expected)


def test_spread_is_the_mean_pairwise_cosine_distance_of_real_tokens() -> None:
    entering = torch.randn(2, LENGTH, 5, generator=torch.Generator().manual_seed(2))
    found = representations(probed_call_of(call_of(), batch_of(torch.zeros(2, LENGTH), RIGHT), entering=entering))
    expected = []
    for b, n in enumerate((LENGTH, 15)):
        unit = (entering[b] / entering[b].norm(dim=-1, keepdim=True)).numpy()
        expected.append(np.mean([1 - unit[i] @ unit[j] for i in range(n) for j in range(n) if i != j]))
    assert found["entering_spread"].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("entering", [None, torch.ones(3, LENGTH, 5), torch.ones(2, LENGTH + 1, 5), "one token"])
def test_spread_is_undefined_without_two_representations_a_sequence(entering: Tensor | str | None) -> None:
    mask = torch.zeros_like(RIGHT)
    mask[:, 0] = 1
    batch = batch_of(torch.zeros(2, LENGTH), mask if isinstance(entering, str) else None)
    given = torch.ones(2, LENGTH, 5) if isinstance(entering, str) else entering
    assert representations(probed_call_of(call_of(), batch, entering=given))["entering_spread"].isnan().all()


def test_a_sound_call_has_integrity(call: AttentionCall) -> None:
    found = integrity(probed_call_of(call))
    assert found["nonfinite_rows"].sum() == 0
    assert found["row_sum_error"].max() < 1e-5
    assert found["output_error"].max() < 1e-5
    assert found["entropy_excess"].max() < 1e-5
    assert found["entropy_deficit"].max() < 1e-5
    padded = LENGTH - (
        call.visibility.queries.sum(1) if call.visibility.queries is not None else torch.tensor([24, 24])
    )
    assert torch.equal(found["empty_rows"], padded[:, None].expand(-1, 3))


@pytest.mark.parametrize(("factor", "error"), [(1.1, 0.1), (math.nan, math.inf)])
def test_row_sums_come_from_the_kernel_itself(factor: float, error: float) -> None:
    call = call_of()
    right = probed_call_of(call).event.run
    found = integrity(probed_call_of(call, run=lambda value: right(value) * factor))
    torch.testing.assert_close(found["row_sum_error"], torch.full((2, 3), error), rtol=0, atol=1e-4)


def test_rows_that_are_not_finite_are_counted_and_give_no_row_sum() -> None:
    call = call_of()
    call.query[:, 1, 4:] = math.nan
    call.query[:, 2] = math.nan
    found = integrity(probed_call_of(call))
    assert found["nonfinite_rows"].tolist() == [[0, LENGTH - 4, LENGTH]] * 2
    assert found["row_sum_error"][:, 2].isnan().all()
    assert found["row_sum_error"][:, :2].max() < 1e-5
    assert found["entropy_deficit"][:, 2].isneginf().all()


def leaky(pairs: int) -> Visibility:
    mask = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
    mask[0, 1 : 1 + pairs] = True
    return Visibility(mask=mask)


@pytest.mark.parametrize(
    ("visibility", "counts"),
    [
        (causal(), [0, 0]),
        (bidirectional(), [LENGTH * (LENGTH - 1) // 2] * 2),
        (leaky(0), [0, 0]),
        (leaky(3), [3, 3]),
        (bidirectional() & padding(RIGHT), [LENGTH * (LENGTH - 1) // 2, 15 * 14 // 2]),
    ],
    ids=["causal", "both ways", "causal mask", "leaking mask", "padded"],
)
def test_visible_future_is_counted_in_pairs(visibility: Visibility, counts: list[int]) -> None:
    found = integrity(probed_call_of(call_of(visibility=visibility)))["visible_future"]
    assert found.tolist() == [[count] * 3 for count in counts]


@pytest.mark.parametrize("gain", [0.0, 0.1, 1.0, 4.0, 16.0])
@pytest.mark.parametrize("sink", [None, 0.0, 8.0])
def test_entropy_never_oversteps_its_bounds(gain: float, sink: float | None) -> None:
    """Zhai's lower bound and log n hold for any row, and for what a learned sink leaves of it."""
    for seed in range(8):
        call = call_of(seed, gain=gain, sink=None if sink is None else torch.full((3,), sink))
        found = integrity(probed_call_of(call))
        assert found["entropy_excess"].max() < 1e-4
        assert found["entropy_deficit"].max() < 1e-4


def test_a_wrong_entropy_oversteps_a_bound() -> None:
    call = call_of(gain=0.5)
    right = probed_call_of(call).moments.rows.entropy
    low = integrity(moments_changed(probed_call_of(call), entropy=right - 0.3))
    assert low["entropy_deficit"].min() > 0.1
    assert low["entropy_excess"].max() < 1e-5
    high = integrity(moments_changed(probed_call_of(call), entropy=right + 0.3))
    assert high["entropy_excess"].max() > 0.1
