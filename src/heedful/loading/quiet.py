"""Silence transformers' progress bars and tables while something is loaded, then restore its settings."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

_SILENT = 50
"""The level above which transformers has no messages."""


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Return a context without progress bars, warnings and load reports; the random state is restored.

    Yields:
        Nothing; settings and random state are as before on leaving, also after an error.
    """
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(_SILENT)
    logging.disable_progress_bar()
    try:
        with _kept_random_state(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _kept_random_state() -> AbstractContextManager[None]:
    """Torch's generator as before; a tokenizer is loaded without torch, which takes seconds to import."""
    torch = sys.modules.get("torch")
    return nullcontext() if torch is None else torch.random.fork_rng(devices=())
