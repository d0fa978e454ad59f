"""Null models from the function that built the tested one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.evaluation.checks.planted import AttentionOnly, random_ids, sequences_of
from torch import nn

from heedful.errors import InputRejected
from heedful.evaluation.nine_sections import validate
from heedful.evaluation.null_inputs import fresh_models
from heedful.evaluation.null_models import NoFreshModel, null_model
from heedful.evaluation.result import Finding
from heedful.evaluation.settings import Settings
from heedful.inference.verdict import Verdict

PATHS = ("blocks.0", "blocks.1")
IDS = random_ids(18, 24, vocabulary=64)


def build(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AttentionOnly()


def with_slopes(seed: int) -> nn.Module:
    """A parameter that no ``reset_parameters`` reaches, so that a copy cannot be made fresh."""
    model = build(seed)
    model.slopes = nn.Parameter(torch.ones(3))
    return model


def made(make: Callable[[int], nn.Module], count: int = 3, seed: int = 0) -> list[nn.Module]:
    return list(fresh_models(make(seed), count, seed, build=make, paths=PATHS))


def test_fresh_models_are_those_of_the_function_with_other_seeds() -> None:
    seeds: list[int] = []

    def noted(seed: int) -> nn.Module:
        seeds.append(seed)
        return build(seed)

    models = made(noted)
    assert len(set(seeds[3:])) == 3 and 0 not in seeds[1:]  # the tested model's own seed is none of them
    weights = [model.blocks[0].qkv.weight for model in models]
    assert not any(torch.equal(weights[a], weights[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    again = made(build)
    assert all(torch.equal(a, b.blocks[0].qkv.weight) for a, b in zip(weights, again, strict=True))
    (third,) = fresh_models(build(0), 3, 0, [2], build=build, paths=PATHS)
    assert torch.equal(third.blocks[0].qkv.weight, weights[2])
    assert not any(model.training for model in models)


def constant(seed: int) -> nn.Module:
    return build(7)


def trained_second_layer(seed: int) -> nn.Module:
    model = build(seed)
    model.blocks[1] = build(7).blocks[1]
    return model


SAME = build(1)


def shared(seed: int) -> nn.Module:
    return SAME


def other_width(seed: int) -> nn.Module:
    return AttentionOnly(width=64 if seed == 0 else 32)


def once(seed: int) -> nn.Module:
    if seed:
        raise InputRejected("own:build", "raised ValueError: only once")
    return build(seed)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (constant, r"gives blocks.0 the same weights whatever the seed \(2 attention modules\)"),
        (trained_second_layer, r"gives blocks.1 the same weights whatever the seed \(1 attention modules\)"),
        (shared, "returns the same model again"),
        (other_width, "another architecture the second time: blocks.0.norm.bias, blocks.0.norm.weight"),
        (once, "one model and not a second: own:build: raised ValueError: only once"),
    ],
)
def test_a_function_that_builds_no_null_is_told(make: Callable[[int], nn.Module], says: str) -> None:
    with pytest.raises(NoFreshModel, match=says):
        made(make)


def test_the_same_architecture_is_asked_of_names_and_shapes() -> None:
    with pytest.raises(NoFreshModel, match="slopes differ"):
        null_model(build(0), with_slopes, 1)


def concentrated(model: nn.Module, make: Callable[[int], nn.Module] | None) -> Finding:
    settings = Settings(preset="quick", null="untrained", null_models=3, resamples=199)
    report = validate(model, sequences_of(IDS), settings=settings, build=make)
    (found,) = (f for f in report.sections[3].findings if f.claim == "heads_are_concentrated" and f.head is None)
    return found


def test_a_report_compares_with_models_of_the_function_and_else_is_descriptive() -> None:
    model = with_slopes(0)
    assert "not available: no reset_parameters reaches slopes" in concentrated(model, None).null
    assert concentrated(model, with_slopes).null.startswith("3 untrained models")
    found = concentrated(build(7), constant)
    assert "constant or trained weights are no null" in found.null and found.p is None
    assert found.verdict is not Verdict.PASS


def test_what_was_built_is_what_is_measured() -> None:
    from tests.evaluation.material import batch_of

    from heedful.evaluation.untrained import untrained_statistics

    batch = batch_of(IDS[:4])
    ours = untrained_statistics(build(0), 2, [batch], None, 0, build=build, paths=PATHS)
    copies = untrained_statistics(build(0), 2, [batch], None, 0)
    assert ours["concentration"].shape == copies["concentration"].shape == (2, 4)
    assert not np.allclose(ours["concentration"], copies["concentration"])
