"""Same-token pairs and repeats of random sequences."""

from __future__ import annotations

import pytest
import torch
from tests.evaluation.material import batch_of, call_of, planted_call, probed_call_of
from torch import Tensor

from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense_weights
from heedful.attention.engines.groups import Groups
from heedful.attention.engines.moments import Extras
from heedful.attention.engines.tiled import tiled
from heedful.attention.visibility import causal
from heedful.evaluation.token_probes import REACH, draw_quadruples, repeats, same_token
from heedful.inference.interval import bootstrap_t

COUNT, LENGTH = 32, 96


def zipf_ids(count: int = COUNT, length: int = LENGTH) -> Tensor:
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
    assert max(other_i.max(), i.max()) < LENGTH


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
    place = torch.randn(LENGTH, generator=generator)[None, None, None, :]
    same = ids[:, None, :, None] == ids[:, None, None, :]
    noise = 0.3 * torch.randn(COUNT, 1, LENGTH, LENGTH, generator=generator)
    interval = bootstrap_t(attraction(ids, theta * same + liked + place + noise).numpy(), seed=0).at(0)
    assert float(interval.low) < theta < float(interval.high)
    assert float(interval.low) > 0


def test_liking_tokens_positions_or_nearness_is_no_attraction() -> None:
    ids = zipf_ids()
    position = torch.arange(LENGTH)
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
