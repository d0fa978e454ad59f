"""Every integer field of every config class of transformers set to 10^9 in turn: the answer comes, in bounds.

One fork a case from a warm process, whose time and memory the system counts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from heedful.errors import HeedfulError
from heedful.loading.model_config import plan_model
from heedful.loading.skeleton import build_skeleton

HUGE = 10**9
SECONDS, BYTES = 20.0, 1_500_000_000
_UNBOUND = 120


@dataclass(frozen=True)
class Case:
    """One field of one model type."""

    model_type: str
    path: tuple[str, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """The config as a file would hold it; what is not named has its default."""
        value: Any = HUGE
        for name in reversed(self.path):
            value = {name: value}
        return {"model_type": self.model_type, **value}


@dataclass(frozen=True)
class Answer:
    """What a case got."""

    code: int
    """0 built, 3 or 4 refused; anything else is a fault."""
    same: bool
    seconds: float
    bytes: int
    message: str

    @property
    def sound(self) -> bool:
        """Whether it is what the limits promise."""
        return self.code in (0, 3, 4) and self.seconds < SECONDS and self.bytes < BYTES


def cases(nested: bool = False) -> Iterator[Case]:
    """Every integer field of the default config of every type; with ``nested`` those of configs inside it instead."""
    from transformers import CONFIG_MAPPING

    for model_type in CONFIG_MAPPING:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = CONFIG_MAPPING[model_type]().to_dict()
        except Exception:  # a class without a default config
            continue
        for path in _integers(tree, ()):
            if (len(path) > 1) == nested:
                yield Case(model_type, path)


def _integers(tree: dict[str, Any], above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, value in tree.items():
        if type(value) is int:
            yield (*above, name)
        elif isinstance(value, dict):
            yield from _integers({str(key): one for key, one in value.items()}, (*above, name))


def size_of(settings: dict[str, Any]) -> tuple[Any, ...]:
    """What a config leads to, once it fits."""
    skeleton = build_skeleton(plan_model(settings, "config.json"), "config.json")
    skeleton.ensure_fits(torch.float32, "cpu", "config.json")
    return (skeleton.parameters, skeleton.buffer_bytes, tuple(sorted(skeleton.shapes.items())))


def base(model_type: str) -> tuple[Any, ...] | int:
    """The same without the field; what it imports stays imported for the forks."""
    try:
        return size_of({"model_type": model_type})
    except HeedfulError as error:
        return error.exit_code


def ask(case: Case, known: tuple[Any, ...] | int) -> Answer:
    """The answer to one case, from a fork of this process."""
    reading, writing = os.pipe()
    began = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        _answered(case, known, writing)
    os.close(writing)
    signal.alarm(0)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    same, _, message = said.partition("\n")
    return Answer(code, same == "same", time.monotonic() - began, usage.ru_maxrss * 1024, message)


def _answered(case: Case, known: tuple[Any, ...] | int, writing: int) -> None:
    code, same, message = 99, False, ""
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_UNBOUND)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        try:
            same, code = size_of(case.settings) == known, 0
        except HeedfulError as error:
            code, message = error.exit_code, str(error)
            same = known == code
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):
            os.write(writing, f"{'same' if same else 'other'}\n{message}".encode()[:4000])
    finally:
        os._exit(code)
