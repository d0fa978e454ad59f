"""Temperatures by rule and by calibration."""

from __future__ import annotations

import math

import pytest
import torch

from heedful.errors import UsageError
from heedful.gauge.model.gauge_config import first_kappa, kappa_for


def test_rules() -> None:
    assert first_kappa("shared", 0.5, (1, 3, 5)) == (0.5, 0.5, 0.5) == first_kappa("learned", 0.5, (1, 3, 5))
    assert first_kappa("sqrt", 2.0, (1, 4)) == (2.0, 4.0)
    assert first_kappa("dim", 2.0, (1, 4)) == (2.0, 8.0) == first_kappa("calibrated", 2.0, (1, 4))


def test_rules_and_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(UsageError, match="kappa rule 'hot': expected one of shared, sqrt, dim, calibrated, learned"):
        first_kappa("hot", 1.0, (1,))
    for wrong in (0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match=r"kappa .*: expected a number above 0"):
            first_kappa("shared", wrong, (1,))


def test_calibrated_heads_are_as_concentrated_as_wanted_whatever_their_scale() -> None:
    draw = torch.Generator().manual_seed(0)
    visible = torch.arange(64) <= torch.arange(16, 64, 4)[:, None]
    scales = torch.tensor([1e-6, 1.0, 1e5])[:, None, None]
    divergences = torch.randn(3, 12, 64, generator=draw).square() * scales
    for target in (0.05, 0.5, 2.0):
        kappa = kappa_for(divergences, visible, target)
        logits = (-divergences.double() / kappa[:, None, None]).masked_fill(~visible, -torch.inf)
        beta = torch.softmax(logits, -1)
        entropy = -(beta * beta.clamp_min(1e-300).log()).sum(-1)
        found = (visible.sum(-1).double().log() - entropy).mean(-1)
        torch.testing.assert_close(found, torch.full((3,), target).double(), rtol=0, atol=1e-4)


def test_heads_that_cannot_be_so_are_undefined() -> None:
    visible = torch.ones(2, 4, dtype=torch.bool)
    alike, far = torch.zeros(1, 2, 4), torch.rand(1, 2, 4)
    found = kappa_for(torch.cat([alike, far]), visible, 0.5)
    assert bool(found[0].isnan()) and bool(found[1].isfinite())
    assert bool(kappa_for(far, visible, 5.0).isnan().all())  # log 4 nats are the most there is
    with pytest.raises(UsageError, match="target concentration 0: expected nats above 0"):
        kappa_for(far, visible, 0)
