"""The oracle against loops over every query and key, and against closed forms."""

import math
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from tests.cases import CASES, attention_call, plain
from tests.labels import key_groups, plain_groups
from tests.oracles import attention_loops
from tests.oracles.group_loops import members
from tests.tolerances import flat_moments

from heedful.attention.engines.dense import dense, dense_logits, dense_weights
from heedful.attention.engines.moments import Extras
from heedful.attention.visibility import bidirectional, causal, masked


@pytest.mark.parametrize("name", CASES)
def test_every_moment_is_the_loop_oracles(name: str) -> None:
    call = CASES[name]()
    groups = key_groups(call)
    found = dense(call, Extras(groups=groups, distances=True, contrast=True))
    truth = attention_loops.moments(plain(call), members(plain(call), plain_groups(groups)))
    counts: dict[str, Any] = {f.name: getattr(found.rows, f.name) for f in fields(found.rows) if "visible" in f.name}
    counts["seen_by"] = found.keys.seen_by
    compared = flat_moments(found) | counts
    assert set(compared) == set(truth) - (set() if call.value is not None else {"output"})
    for moment, value in compared.items():
        # float64 both: only the order of sums differs, on logits of at most some thousand.
        torch.testing.assert_close(
            value.double(), torch.from_numpy(truth[moment]).double(), rtol=1e-9, atol=1e-10, equal_nan=True, msg=moment
        )


@pytest.mark.parametrize("length", [1, 2, 16, 64, 200])
def test_uniform_rows(length: int) -> None:
    call = attention_call(queries=length, size=0.0)
    rows = dense(call).rows
    seen = torch.arange(1, length + 1, dtype=torch.float64).expand(2, 4, -1)
    torch.testing.assert_close(rows.entropy, seen.log())
    torch.testing.assert_close(rows.logsumexp, seen.log())
    torch.testing.assert_close(rows.max_weight, 1 / seen)
    torch.testing.assert_close(rows.collision, 1 / seen)
    torch.testing.assert_close(rows.mean_position, (seen - 1) / 2)
    torch.testing.assert_close(rows.self_mass, 1 / seen)
    torch.testing.assert_close(rows.first_mass, 1 / seen)
    torch.testing.assert_close(rows.local_mass, seen.clamp_max(6) / seen)
    torch.testing.assert_close(rows.lag_overlap[..., :-1], 1 / seen[..., 1:])
    assert rows.previous_mass[..., 0].isnan().all() and rows.lag_overlap[..., -1].isnan().all()


def test_one_hot_rows() -> None:
    length = 30
    eye = torch.eye(length)[None, None]
    call = replace(attention_call(bidirectional(), batch=1, heads=1), query=1e4 * eye, key=eye, value=eye, scale=1.0)
    found = dense(call)
    zero, one = torch.zeros(1, 1, length).double(), torch.ones(1, 1, length).double()
    for name, value in {
        "entropy": zero,
        "max_weight": one,
        "collision": one,
        "self_mass": one,
        "local_mass": one,
    }.items():
        torch.testing.assert_close(getattr(found.rows, name), value)
    torch.testing.assert_close(found.keys.received, one)
    torch.testing.assert_close(found.output, eye.double())
    assert (found.rows.lag_overlap[..., :-1] == 0).all()


def test_rows_that_see_nothing_are_nan_and_counted() -> None:
    mask = torch.ones(6, 6, dtype=torch.bool)
    mask[2] = False
    found = dense(attention_call(masked(mask), queries=6))
    assert found.empty_rows == 2 * 4
    assert (found.rows.visible[:, :, 2] == 0).all()
    for name, value in flat_moments(found).items():
        if name in ("received", "output"):
            assert value.isfinite().all(), name
        else:
            assert value[:, :, 2].isnan().all(), name
    assert found.output is not None and (found.output[:, :, 2] == 0).all()


@pytest.mark.fault
def test_nan_logits_stay_nan_in_their_own_head() -> None:
    """F08."""
    call = attention_call()
    call.query[0, 1] = math.nan
    found = dense(call)
    for name, value in flat_moments(found).items():
        if name not in ("lag_overlap", "distant_overlap", "previous_mass"):
            assert value[0, 1].isnan().all(), name
            assert value[0, 0].isfinite().all() and value[1].isfinite().all(), name
    assert found.empty_rows == 0


def test_learned_sink_takes_weight() -> None:
    call = attention_call(sink=torch.tensor([-50.0, 0.0, 3.0, 50.0]), size=0.0)
    total = dense(call).rows.total
    seen = torch.arange(1, call.n_queries + 1).double()
    for head, sink in enumerate((-50.0, 0.0, 3.0, 50.0)):
        torch.testing.assert_close(total[0, head], seen / (seen + math.exp(sink)))


def test_weights_and_logits_agree() -> None:
    call = CASES["grouped_heads"]()
    torch.testing.assert_close(dense_weights(call), torch.softmax(dense_logits(call), dim=-1))


def test_gradients_are_not_followed() -> None:
    call = attention_call(causal())
    call.query.requires_grad_()
    found = dense(call)
    assert not any(value.requires_grad for value in flat_moments(found).values())
