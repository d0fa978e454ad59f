"""What every test stands on: one thread, no network, the same random numbers each time."""

from __future__ import annotations

import os
import random

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HEEDFUL_PROGRESS"] = "off"  # on a busy machine any command takes long enough to show its phases

import numpy as np
import pytest
import tests.typechecker  # noqa: F401  (the hook looks it up by name)
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

CALLED_ONCE_A_CALL = (
    "agreement",
    "kept_calls",
    "held_heads",
    "replace",
    "rules",
    "selection",
    "sequence_means",
    "session",
    "verify",
)
CHECKED_ROOMS = [
    "heedful.attention",
    "heedful.attention.engines",
    "heedful.attention.statistics",
    "heedful.monitoring.vectors",
]
CHECKED_ROOMS += [f"heedful.interception.{name}" for name in CALLED_ONCE_A_CALL]
"""Rooms whose annotations are checked at every call; the others name types that they import for type checkers alone, or
run at every torch function of a model."""

install_import_hook(CHECKED_ROOMS, "tests.typechecker.checked")
torch.set_num_threads(1)
settings.register_profile(
    "heedful",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
settings.load_profile("heedful")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The same random numbers in each test, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
