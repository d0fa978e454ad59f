import pytest
import torch
from transformers.utils import logging

from heedful.loading.quiet import quiet_transformers


def test_settings_and_random_state_come_back_after_an_error() -> None:
    before = logging.get_verbosity(), logging.is_progress_bar_enabled(), torch.get_rng_state()

    def fail() -> None:
        with quiet_transformers():
            torch.rand(3)
            assert not logging.is_progress_bar_enabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])
