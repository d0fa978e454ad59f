"""Attention as people write it: what is told as verified is the module's own, and what is not met is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.interception.layouts.corpus import LAYOUTS
from tests.interception.layouts.judging import judge, leftover_modes, truth_error


@pytest.fixture(autouse=True)
def _no_mode_is_left() -> Iterator[None]:
    """Whatever happened, nothing watches what runs next."""
    assert leftover_modes() == 0
    yield
    assert leftover_modes() == 0


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_truth_gives_the_modules_output(name: str) -> None:
    case = LAYOUTS[name].make()
    if not case.raises:
        assert truth_error(case) <= max(1e-4, case.tolerance)


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_is_verified_is_the_modules_own(name: str) -> None:
    assert judge(LAYOUTS[name]) == []
