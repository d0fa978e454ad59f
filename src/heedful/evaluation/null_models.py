"""Rebuild a model with the user's function, and check that architecture is equal and weights differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from heedful.errors import HeedfulError

Build = Callable[[int], nn.Module]
"""Builds a model with random weights from a seed."""


class NoFreshModel(Exception):
    """The model's class cannot be rebuilt with random weights; the message gives the reason."""


def null_model(model: nn.Module, build: Build, seed: int) -> nn.Module:
    """Return a model of the same architecture, with random weights drawn with ``seed``.

    Args:
        model: The tested model.
        build: What built it.
        seed: Seed of the weights.

    Raises:
        NoFreshModel: It cannot be built a second time, is the tested model itself, or is of another architecture.
    """
    try:
        fresh = build(seed)
    except HeedfulError as error:
        raise NoFreshModel(f"the factory built one model and not a second: {error}") from error
    if fresh is model:
        raise NoFreshModel("the factory returns the same model again instead of building one")
    one, other = ({name: tuple(t.shape) for name, t in m.state_dict().items()} for m in (model, fresh))
    if one != other:
        odd = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
        raise NoFreshModel(f"the factory built another architecture the second time: {', '.join(odd[:3])} differ")
    return fresh


def ensure_random(build: Build, model: nn.Module, seeds: tuple[int, int], paths: Sequence[str]) -> None:
    """Raise an error unless two seeds give every attention module different weights.

    Args:
        build: What built the model.
        model: The tested model.
        seeds: Two seeds.
        paths: Paths of the attention modules.

    Raises:
        NoFreshModel: They do not.
    """
    one, other = (null_model(model, build, seed) for seed in seeds)
    same = [path for path in paths if _equal(_holder(one, path), _holder(other, path))]
    if same:
        raise NoFreshModel(
            f"the factory gives {same[0] or 'the model'} the same weights whatever the seed ({len(same)} attention "
            "modules): constant or trained weights are no null"
        )


def _holder(model: nn.Module, path: str) -> nn.Module:
    """The module at a path, or the nearest around it that has parameters."""
    module = model.get_submodule(path)
    while path and next(module.parameters(), None) is None:
        path = path.rpartition(".")[0]
        module = model.get_submodule(path)
    return module


def _equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
