from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], object]:
    """A trained model and text for it, by its short name; each is loaded once, or its test skipped by package."""
    from tests.realmodels import trained_models

    room = tmp_path_factory.mktemp("real")
    return cache(lambda name: trained_models.RECIPES[name](room))
