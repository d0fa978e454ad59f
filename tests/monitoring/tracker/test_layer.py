"""Spread of logits: a planted spread, a loop, and what it must not depend on."""

import math

import torch

from heedful.attention.call import AttentionCall
from heedful.attention.visibility import causal, padding
from heedful.monitoring.tracker.layer import logit_spread


def test_all_rows_against_a_loop() -> None:
    query, key = torch.randn(2, 4, 20, 8), torch.randn(2, 2, 20, 8)
    call = AttentionCall(query=query, key=key, visibility=causal())
    for sequence in range(2):
        for head in range(4):
            spreads = [
                (query[sequence, head, i] @ key[sequence, head // 2, : i + 1].T / math.sqrt(8)).std(correction=0)
                for i in range(7, 20)
            ]
            found = logit_spread(call, rows=20)[sequence, head]
            torch.testing.assert_close(found, torch.stack(spreads).mean(), rtol=1e-5, atol=1e-6)


def test_a_planted_spread_is_found() -> None:
    query = torch.zeros(1, 1, 400, 4)
    query[..., 0] = 3.0
    key = torch.randn(1, 1, 400, 4, generator=torch.Generator().manual_seed(0))
    assert abs(float(logit_spread(AttentionCall(query=query, key=key, scale=1.0))) - 3.0) < 0.3


def test_gain_moved_from_key_to_query_changes_nothing() -> None:
    query, key = torch.randn(2, 1, 2, 30, 8)
    plain = logit_spread(AttentionCall(query=query, key=key))
    moved = logit_spread(AttentionCall(query=query * 4, key=key / 4))
    torch.testing.assert_close(plain, moved)


def test_unseen_keys_and_short_rows_do_not_count() -> None:
    query, key = torch.randn(2, 1, 1, 24, 8)
    keys = torch.ones(1, 24, dtype=torch.bool)
    keys[:, :4] = False
    spoilt = key.clone()
    spoilt[:, :, :4] = 100.0
    hidden = causal() & padding(keys)
    torch.testing.assert_close(
        logit_spread(AttentionCall(query=query, key=key, visibility=hidden)),
        logit_spread(AttentionCall(query=query, key=spoilt, visibility=hidden)),
    )
    assert logit_spread(AttentionCall(query=query[:, :, :7], key=key[:, :, :7])).isnan().all()
