"""Rows of the page: as wide as a terminal whatever the numbers."""

from __future__ import annotations

import pytest

from heedful.training.sweeps.page import WIDTH, _row


@pytest.mark.parametrize(
    "label", ["4", "a label of exactly 24 ch", "kappa_rule=calibrated token_frames=learned seed=3"]
)
@pytest.mark.parametrize("size", [1.0, -0.00018812345, 123456.7])
def test_no_row_is_wider_than_the_page(label: str, size: float) -> None:
    numbers = {"mean": size, "low": 1.0123 * size, "high": -1.0456 * size}
    against = {"against_first": size, "against_low": -1.0178 * size, "against_high": 1.0221 * size}
    lines = _row(label, numbers | against)
    assert max(map(len, lines)) <= WIDTH
    message = " ".join(" ".join(lines).split())
    assert message.startswith(label) and f"{size:.4g} [" in message and f"| {size:.3g} [" in message


def test_what_fits_stays_on_one_line() -> None:
    nothing = {"against_low": None, "against_high": None}
    assert _row("4", {"mean": 0.5, "low": 0.4, "high": 0.6, "against_first": 0.1} | nothing) == [
        f"  {'4':<24} {'0.5 [0.4, 0.6]':<27} | 0.1 (one seed)"
    ]
