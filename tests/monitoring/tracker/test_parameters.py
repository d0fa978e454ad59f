"""Gains and the curve of weight decay alone."""

import math

import pytest
import torch

from heedful.monitoring.tracker.parameters import DecayCurve, gain_statistics


def test_statistics_of_a_gain() -> None:
    found = gain_statistics(torch.tensor([1.0, 1.0, 3.0, 3.0]))
    assert found == pytest.approx(
        {"gain_norm": math.sqrt(20), "gain_mean": 2.0, "gain_sd": 1.0, "gain_min": 1.0, "gain_max": 3.0}
    )


def test_a_known_run_without_gradients() -> None:
    curve = DecayCurve(8.0)
    for _ in range(100):
        curve.stepped(0.006, 0.2)
    assert curve.norm == pytest.approx(7.0948, abs=1e-3)


def test_the_curve_is_what_adamw_does_without_a_gradient() -> None:
    gain = torch.nn.Parameter(torch.ones(16))
    optimizer = torch.optim.AdamW([gain], lr=0.01, weight_decay=0.3)
    curve = DecayCurve(float(gain.detach().norm()))
    for step in range(20):
        optimizer.param_groups[0]["lr"] = 0.01 * (step + 1)
        gain.grad = torch.zeros(16)
        optimizer.step()
        curve.stepped(optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"])
    assert curve.norm == pytest.approx(float(gain.detach().norm()), rel=1e-5)
