"""Every integer field of every config class of transformers set to 10^9 in turn: the answer comes, in bounds.

One fork a case from a warm process, whose time and memory the system counts.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from tests.fuzz.measured import Outcome, measured

from heedful.errors import HeedfulError
from heedful.loading.model_config import plan_model
from heedful.loading.skeleton import build_skeleton

HUGE = 10**9
SECONDS, BYTES = 20.0, 1_500_000_000


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


def size_of(settings: dict[str, Any], known: str | None = None) -> str:
    """What a config leads to, as a digest; one that is not the known one must fit into memory too."""
    skeleton = build_skeleton(plan_model(settings, "config.json"), "config.json")
    facts = (skeleton.parameters, skeleton.buffer_bytes, tuple(sorted(skeleton.shapes.items())))
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()
    if known is not None and digest != known:
        skeleton.ensure_fits(torch.float32, "cpu", "config.json")
    return digest


def base(model_type: str) -> str:
    """The same without the field, or its refusal; what it imports stays imported for the forks."""
    try:
        return size_of({"model_type": model_type})
    except HeedfulError as error:
        return f"{error.exit_code}"


def ask(case: Case, known: str) -> Outcome:
    """The answer to one case."""
    return measured(lambda: size_of(case.settings, known))
