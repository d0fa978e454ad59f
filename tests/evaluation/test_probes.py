"""Probes of rows against plain loops over the weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from tests.evaluation.material import batch_of, call_of, moments_changed, planted_call, probed_call_of
from torch import Tensor

from heedful.attention.axes import DISTANCE_EDGES, MIN_VISIBLE
from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense_weights
from heedful.attention.engines.groups import Groups
from heedful.attention.engines.moments import Extras
from heedful.attention.engines.tiled import tiled
from heedful.attention.visibility import Visibility, bidirectional, causal, padding
from heedful.evaluation.probes import (
    REACH,
    by_position,
    distances,
    draw_quadruples,
    growth,
    integrity,
    jensen_shannon,
    query_variation,
    repeats,
    representations,
    row_statistics,
    same_token,
    token_groups,
)
from heedful.inference.interval import bootstrap_t

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


COUNT, REPEATED_LENGTH = 32, 96


def zipf_ids(count: int = COUNT, length: int = REPEATED_LENGTH) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.multinomial(1 / torch.arange(1.0, 101), count * length, True, generator=generator).view(count, length)


def test_every_cell_is_legal() -> None:
    ids = zipf_ids()
    real = torch.rand(ids.shape, generator=torch.Generator().manual_seed(1)) < 0.9
    cells = draw_quadruples(ids, real, torch.Generator().manual_seed(2))
    row, i, j, other_i, other_j = cells.unbind(1)
    assert len(row.unique()) == COUNT
    token = lambda position: ids[row, position]  # noqa: E731
    assert (token(i) == token(j)).all()
    for query, key in ((i, other_j), (other_i, j), (other_i, other_j)):
        assert (token(query) != token(key)).all()
    assert (torch.maximum(j, other_j) < torch.minimum(i, other_i)).all()
    assert (i - j > 1).all()
    assert ((other_i - i).abs() <= REACH).all() and ((other_j - j).abs() <= REACH).all()
    assert all(real[row, position].all() for position in (i, j, other_i, other_j))
    assert min(i.min(), j.min(), other_i.min(), other_j.min()) >= 0
    assert max(other_i.max(), i.max()) < REPEATED_LENGTH


@pytest.mark.parametrize("ids", [torch.arange(20).repeat(3, 1), torch.tensor([[4, 4]]), torch.full((2, 20), 3)])
def test_no_legal_cell_is_no_cell(ids: Tensor) -> None:
    found = draw_quadruples(ids, torch.ones_like(ids, dtype=torch.bool), torch.Generator().manual_seed(0))
    assert found.shape == (0, 5)


def attraction(ids: Tensor, logits: Tensor) -> Tensor:
    call = planted_call(logits.expand(len(ids), -1, ids.shape[1], -1).clone())
    return same_token(0)(probed_call_of(call, batch_of(ids)))["same_token"]


@pytest.mark.parametrize("theta", [0.1, 0.3])
def test_planted_attraction_is_recovered_under_popularity_position_and_noise(theta: float) -> None:
    ids = zipf_ids()
    generator = torch.Generator().manual_seed(3)
    liked = torch.randn(100, generator=generator)[ids][:, None, None, :]
    place = torch.randn(REPEATED_LENGTH, generator=generator)[None, None, None, :]
    same = ids[:, None, :, None] == ids[:, None, None, :]
    noise = 0.3 * torch.randn(COUNT, 1, REPEATED_LENGTH, REPEATED_LENGTH, generator=generator)
    interval = bootstrap_t(attraction(ids, theta * same + liked + place + noise).numpy(), seed=0).at(0)
    assert float(interval.low) < theta < float(interval.high)
    assert float(interval.low) > 0


def test_liking_tokens_positions_or_nearness_is_no_attraction() -> None:
    ids = zipf_ids()
    position = torch.arange(REPEATED_LENGTH)
    distance = (position[:, None] - position[None, :]).float()
    frequent = 2.0 * (ids < 5)[:, None, None, :]
    sink = 9.0 * (position == 0)[None, None, None, :]
    slope = -0.5 * distance[None, None]
    for logits in (frequent.float(), sink.float(), slope, frequent + sink + slope):
        assert attraction(ids, logits).abs().max() < 1e-4
    smooth = -2.0 * (distance.clamp_min(0) + 1).log()[None, None]
    assert abs(float(attraction(ids, smooth).mean())) < 0.05


def test_a_sequence_without_pairs_is_undefined_and_a_broken_head_alone() -> None:
    ids = torch.cat([zipf_ids(1, 40), torch.arange(40)[None]])
    call = call_of(length=40)
    call.query[:, 1] = float("nan")
    found = same_token(0)(probed_call_of(call, batch_of(ids)))["same_token"]
    assert found[0].isnan().tolist() == [False, True, False]
    assert found[1].isnan().all()


def test_unseen_cells_do_not_count() -> None:
    """A window hides keys whose logits would overflow anything."""
    ids = zipf_ids(2, 60)
    distance = torch.arange(60)[:, None] - torch.arange(60)[None, :]
    logits = torch.where(distance >= 30, 1e30, 0.0)[None, None].expand(2, 1, -1, -1)
    call = planted_call(logits, causal(window=30))
    assert same_token(0)(probed_call_of(call, batch_of(ids)))["same_token"].abs().max() == 0


PERIODS = torch.tensor([8, 11])


def repeated_ids(length: int, prefix: int, periods: Tensor = PERIODS) -> Tensor:
    """Special token 99, then tokens that come back a period later."""
    rows = [torch.arange(length - prefix) % int(period) for period in periods]
    return torch.cat([torch.full((len(periods), prefix), 99), torch.stack(rows)], dim=1)


def repeated_masses(call: AttentionCall, prefix: int = 1) -> dict[str, Tensor]:
    return repeats(PERIODS, prefix)(probed_call_of(call, batch_of(repeated_ids(call.n_keys, prefix))))


def repeated_call(back: Tensor, length: int = 40, prefix: int = 1) -> dict[str, Tensor]:
    """Each sequence attends one key ``back`` positions before."""
    logits = torch.zeros(2, 1, length, length)
    for row, lag in enumerate(back.tolist()):
        query = torch.arange(lag, length)
        logits[row, 0, query, query - lag] = 40.0
    return repeated_masses(planted_call(logits), prefix)


@pytest.mark.parametrize(
    ("back", "induction", "duplicate"),
    [(PERIODS - 1, 1.0, 0.0), (PERIODS, 0.0, 1.0), (torch.tensor([1, 1]), 0.0, 0.0)],
    ids=["induction", "duplicate", "previous"],
)
def test_each_planted_head_is_known_by_its_mass(back: Tensor, induction: float, duplicate: float) -> None:
    found = repeated_call(back)
    assert found["induction_mass"].flatten().tolist() == pytest.approx([induction] * 2, abs=1e-5)
    assert found["duplicate_mass"].flatten().tolist() == pytest.approx([duplicate] * 2, abs=1e-5)


def loop_masses(weights: Tensor, ids: Tensor, start: int) -> tuple[float, float]:
    """Olsson's definition read aloud: of one head ``(query, key)``, over queries from ``start`` on."""
    follows, same = [], []
    for i in range(start, len(ids)):
        follows.append(sum(float(weights[i, j]) for j in range(1, i + 1) if ids[j - 1] == ids[i]))
        same.append(sum(float(weights[i, j]) for j in range(i) if ids[j] == ids[i]))
    return sum(follows) / len(follows), sum(same) / len(same)


@pytest.mark.parametrize("more", [{}, {"kv_heads": 1}, {"gain": 6.0}, {"window": 9}], ids=str)
def test_all_copies_count_as_in_a_loop_and_in_the_engine(more: dict[str, float]) -> None:
    options = {name: value for name, value in more.items() if name != "window"}
    call = call_of(length=47, visibility=causal(window=more.get("window")), **options)
    weights, ids = dense_weights(call), repeated_ids(47, 2)
    found = repeated_masses(call, prefix=2)
    engine = tiled(call, Extras(groups=Groups(tokens=ids))).rows
    assert engine.induction_mass is not None
    for row, period in enumerate(PERIODS.tolist()):
        for head in range(call.heads):
            expected = loop_masses(weights[row, head], ids[row], 2 + period)
            mine = [float(found[name][row, head]) for name in ("induction_mass", "duplicate_mass")]
            assert mine == pytest.approx(expected, abs=1e-5)
            assert mine[0] == pytest.approx(float(engine.induction_mass[row, head, 2 + period :].mean()), abs=1e-6)


def test_a_head_that_reads_every_copy_has_the_mass_of_all() -> None:
    """Counted at the last copy alone it would have a third."""
    ids = repeated_ids(40, 0)
    earlier = torch.nn.functional.pad(ids[:, :-1], (1, 0), value=-1)
    logits = 40.0 * (ids[:, None, :, None] == earlier[:, None, None, :])
    call = planted_call(logits)
    assert repeated_masses(call, prefix=0)["induction_mass"].min() > 1 - 1e-5


def test_a_key_outside_the_window_has_no_mass_however_large_its_logit() -> None:
    logits = torch.zeros(2, 1, 40, 40)
    logits[:, :, torch.arange(12, 40), torch.arange(28)] = 1e4
    found = repeated_masses(planted_call(logits, causal(window=5)))
    assert found["induction_mass"].flatten().tolist() == [0.0, 0.0]


def test_sequences_shorter_than_their_period_are_undefined() -> None:
    found = repeated_call(torch.tensor([1, 1]), length=10)
    assert found["induction_mass"].isnan().flatten().tolist() == [False, True]
