"""Theory of sharpness beside simulated heads."""

from __future__ import annotations

import math

import pytest
import torch

from heedful.errors import UsageError
from heedful.gauge.crowding import entropy_deficit, least_dimension, needed_ratio, sharp_ratio, simulated_concentration


def simulated(dim: int, ratio: float, keys: int, heads: int = 64) -> tuple[float, float, float]:
    found = simulated_concentration(dim, ratio, keys, torch.Generator().manual_seed(0), heads)
    return found.deficit, found.share, found.largest


@pytest.mark.parametrize(("dim", "ratio"), [(1, 1.74), (1, 0.219), (1, 0.0451), (3, 0.854), (5, 5.0), (5, 1.34)])
def test_theory_agrees_with_simulation_while_keys_are_shared(dim: int, ratio: float) -> None:
    assert entropy_deficit(dim, ratio) == pytest.approx(simulated(dim, ratio, 512, 16)[0], rel=0.05)


def test_temperatures_of_a_published_table() -> None:
    """Effective share .5 and .25 at N = 64 over dimensions; ratios from a study of the same simulation."""
    for dim, half, quarter in [(1, 0.219, 0.0451), (3, 0.854, 0.365), (5, 1.34, 0.649), (19, 3.36, 1.87)]:
        assert simulated(dim, half, 64)[1] == pytest.approx(0.5, abs=0.03)
        assert simulated(dim, quarter, 64)[1] == pytest.approx(0.25, abs=0.03)


def test_near_uniform_half_the_variance_of_the_logits() -> None:
    assert entropy_deficit(7, 1e3) == pytest.approx(0.75 * 7 * 1e-6, rel=0.01)


def test_nats_are_proportional_to_the_dimension() -> None:
    assert entropy_deficit(5, 0.3) == pytest.approx(5 * entropy_deficit(1, 0.3))


@pytest.mark.parametrize("dim", [1, 3, 5])
def test_one_key_is_left_where_the_law_says(dim: int) -> None:
    for keys in (64, 256):
        ratio = sharp_ratio(dim, keys)
        assert entropy_deficit(dim, ratio) == pytest.approx(math.log(keys), rel=0.25)
        crowded, parted = (simulated(dim, ratio * factor ** (2 / dim), keys, 16)[2] for factor in (20, 1 / 20))
        assert crowded < 0.5 < parted


def test_a_line_can_be_sharp() -> None:
    _, _, largest = simulated(1, 1e-7, 64)
    assert largest > 0.95


def test_least_dimension_and_needed_ratio_are_inverse() -> None:
    for dim in (1, 3, 5, 19):
        assert least_dimension(needed_ratio(dim, 0.1), 0.1) == dim
    assert least_dimension(0.43, 0.25) < least_dimension(0.43, 0.1)
    assert entropy_deficit(3, needed_ratio(3, 0.2)) == pytest.approx(math.log(5))


def test_what_makes_no_sense_is_refused() -> None:
    generator = torch.Generator()
    with pytest.raises(UsageError, match="ratio must be above 0; came 0"):
        entropy_deficit(1, 0.0)
    with pytest.raises(UsageError, match=r"between 0 and 1; came 1\.5"):
        least_dimension(0.3, 1.5)
    with pytest.raises(UsageError, match="between 0 and 1; came 0"):
        needed_ratio(3, 0)
    with pytest.raises(UsageError, match="keys must be over 16"):
        simulated_concentration(3, 1.0, 16, generator)
