"""Planted attention: sound checks keep their promise, and a wrong unit is caught."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from heedful.attention.engines.dense import dense_weights
from heedful.attention.engines.moments import Extras
from heedful.attention.engines.tiled import tiled
from heedful.evaluation.calibration.intervals import interval_rates
from heedful.evaluation.calibration.planted_study import FLAT, KEYS, World, planted_call, planted_study, zipf_ids
from heedful.evaluation.calibration.rate import Rate
from heedful.evaluation.study import Study
from heedful.inference.interval import student_t


def test_planted_logits_are_what_they_say() -> None:
    """Near keys differ from far ones by the planted log factor, same tokens from others by theirs."""
    generator = torch.Generator().manual_seed(0)
    world = World(name="plain", content=0.0, between=0.0, near=0.7, same=0.4)
    ids = zipf_ids(2, 24, generator)
    weights = dense_weights(planted_call(world, ids, True, generator)).log()
    row, other = 20, next(j for j in range(8) if ids[0, j] != ids[0, 20])
    near = next(j for j in range(15, 20) if ids[0, j] != ids[0, 20])
    noise = 0.4 * 4 / np.sqrt(32)  # codes of different tokens are only nearly orthogonal
    assert float(weights[0, 0, row, near] - weights[0, 0, row, other]) == pytest.approx(0.7, abs=noise)
    same = [j for j in range(8) if ids[0, j] == ids[0, 20]]
    assert float(weights[0, 0, row, 20] - weights[0, 0, row, other]) == pytest.approx(0.4, abs=noise)
    assert all(float(weights[0, 0, row, j] - weights[0, 0, row, 20]) == pytest.approx(0.0, abs=1e-5) for j in same)


def test_claims_about_position_keep_their_promise_under_key_effects() -> None:
    rates = list(interval_rates(KEYS, 16, True, ["local_bias", "same_token_attraction"], 12, seed=3))
    assert {rate.claim for rate in rates} == {"local_bias", "same_token_attraction"}
    assert {rate.event for rate in rates} >= {"PASS at the margin", "below the margin, at it"}
    assert all(rate.trials in (12, 12 * 8) and rate.length == 16 and rate.causal for rate in rates)
    assert all(rate.kept(len(rates)) for rate in rates), rates


def test_claims_under_weak_structure_keep_their_promise() -> None:
    rates = list(interval_rates(FLAT, 32, False, ["adjacent_queries_differ", "heads_are_concentrated"], 6, seed=5))
    assert rates and all(rate.kept(len(rates)) for rate in rates), rates


def test_an_interval_of_half_the_width_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times as many units as there are documents.

    A head passes at its margin in 5 % over the number of heads, so that the promise of 2.5 % for one head holds at half
    the width, too; the family's does not.
    """
    sound = Study.units
    monkeypatch.setattr(Study, "units", lambda self, values: np.repeat(sound(self, values), 4, axis=0))
    rates = list(interval_rates(KEYS, 16, True, ["local_bias"], 20, seed=3))
    family = next(rate for rate in rates if rate.event == "any of 8 heads PASS at the margin")
    below = next(rate for rate in rates if rate.event == "below the margin, at it")
    assert (family.trials, below.trials) == (20, 160)
    assert not family.kept(250) and not below.kept(250), (family, below)


def test_rows_as_units_are_flagged() -> None:
    """The same contrast with a query row as the unit leaves 0 far too often where keys have effects of their own."""
    wrong = []
    for seed in range(30):
        study = planted_study(KEYS, 32, True, seed)
        rows = tiled(study.call, Extras(contrast=True)).rows.log_contrast
        assert rows is not None
        interval = student_t(rows.permute(0, 2, 1).reshape(-1, rows.shape[1]).double().numpy())
        wrong += ((np.asarray(interval.low) > 0) | (np.asarray(interval.high) < 0)).tolist()
    found = Rate(claim="rows", event="0 left", world="key effects", count=sum(wrong), trials=len(wrong), nominal=0.05)
    assert not found.kept(500), found
