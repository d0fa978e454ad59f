from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], object]:
    """A trained model and text for it, by its short name; each is loaded once, or its test skipped by package."""
    import trained_models

    room = tmp_path_factory.mktemp("real")
    return cache(lambda name: trained_models.RECIPES[name](room))
