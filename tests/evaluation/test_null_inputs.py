"""Fresh models, shuffled tokens and random repeats."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.evaluation.checks.planted import AttentionOnly, PlantedModel, random_ids, sequences_of, uniform_heads
from tests.evaluation.material import batch_of, tiny_bert, tiny_gpt2, tiny_llama
from torch import nn

from heedful.errors import InputRejected
from heedful.evaluation.nine_sections import validate
from heedful.evaluation.null_inputs import (
    NoFreshModel,
    fresh_models,
    null_model,
    repeated,
    shuffled,
    untrained_statistics,
)
from heedful.evaluation.result import Finding
from heedful.evaluation.settings import Settings
from heedful.inference.verdict import Verdict
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
from heedful.ngrams.derivation.model.derived_config import HeedfulDerivedConfig


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("build", [tiny_gpt2, tiny_llama, tiny_bert, AttentionOnly, PlantedModel])
def test_fresh_models_are_untrained_different_and_as_the_architecture_begins(build: Callable[..., nn.Module]) -> None:
    model = build(*uniform_heads(2, 16)) if build is PlantedModel else build()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(3.0)
    before, random = state(model), torch.get_rng_state()
    one, two = fresh_models(model, 2, seed=5)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert type(one) is type(model) and not one.training
    weights = [(a.detach(), b) for a, b in zip(one.parameters(), two.parameters(), strict=True) if a.dim() > 1]
    assert all(not torch.equal(a, b) and abs(float(a.mean())) < 1 for a, b in weights)
    (again,) = fresh_models(model, 1, seed=5)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))


def test_transformers_models_have_their_own_initialisation() -> None:
    (fresh,) = fresh_models(tiny_gpt2(), 1, seed=0)
    assert fresh.transformer.h[0].attn.c_attn.weight.detach().std() == pytest.approx(0.02, abs=0.002)
    assert (fresh.transformer.h[0].attn.c_attn.bias == 0).all()


def test_dtype_follows_the_model() -> None:
    (fresh,) = fresh_models(AttentionOnly().to(torch.bfloat16), 1, seed=0)
    assert {p.dtype for p in fresh.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("shape", [(3, 3), (3,)], ids=["matrix", "vector"])
def test_a_parameter_that_nothing_resets_is_named(shape: tuple[int, ...]) -> None:
    model = AttentionOnly()
    model.blocks[1].slopes = nn.Parameter(torch.ones(shape))
    with pytest.raises(NoFreshModel, match=r"no reset_parameters reaches blocks\.1\.slopes \(1 in all\)"):
        next(fresh_models(model, 1, seed=0))


def test_models_that_cannot_be_built_say_why() -> None:
    with pytest.raises(NoFreshModel, match="no parameters"):
        next(fresh_models(nn.Identity(), 1, seed=0))
    model = tiny_gpt2()

    class Odd(type(model)):  # type: ignore[misc]
        def __init__(self, config: object, needed: int) -> None: ...

    model.__class__ = Odd
    with pytest.raises(NoFreshModel, match="Odd cannot be built from its config"):
        next(fresh_models(model, 1, seed=0))


def test_shuffling_keeps_tokens_special_tokens_and_padding() -> None:
    ids = random_ids(4, 30)
    special = torch.zeros_like(ids, dtype=torch.bool)
    special[:, 0] = special[:, 17] = True
    mask = torch.ones_like(ids)
    mask[2:, 25:] = 0
    batch = batch_of(ids, mask, special, ids % 7 == 0)
    random = torch.get_rng_state()
    found = shuffled(batch, seed=0)
    free = mask.bool() & ~special
    assert torch.equal(found.input_ids[~free], ids[~free])
    for row in range(4):
        assert sorted(found.input_ids[row].tolist()) == sorted(ids[row].tolist())
        assert not torch.equal(found.input_ids[row], ids[row])
    assert torch.equal(batch.input_ids, random_ids(4, 30))
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(shuffled(batch, seed=0).input_ids, found.input_ids)
    assert not torch.equal(shuffled(batch, seed=1).input_ids, found.input_ids)


def test_repeats_repeat_exactly_with_periods_of_their_own() -> None:
    ids = random_ids(10, 60)
    ids[:, 0] = 23
    special = torch.zeros_like(ids, dtype=torch.bool)
    special[:, 0] = True
    ids[:, 1:] = ids[:, 1:] % 20
    found = repeated([batch_of(ids, special=special)], 25, seed=0)
    assert found is not None and found.prefix == 1
    rows = torch.cat([batch.input_ids for batch in found.batches])
    assert rows.shape == (25, 60) and (rows[:, 0] == 23).all() and rows[:, 1:].max() < 20
    assert len(found.periods.unique()) > 5
    assert found.periods.min() >= 8 and found.periods.max() <= 20
    for row, period in zip(rows[:, 1:], found.periods.tolist(), strict=True):
        assert torch.equal(row[period:], row[:-period])
        assert len(row[:period].unique()) == period
    assert torch.cat([batch.index for batch in found.batches]).tolist() == list(range(25))
    assert [len(batch.input_ids) for batch in found.batches] == [10, 10, 5]
    assert all(batch.special.sum() == len(batch.special) for batch in found.batches)


@pytest.mark.parametrize(("length", "kinds"), [(15, 24), (60, 15)], ids=["short", "few tokens"])
def test_what_cannot_be_repeated_twice_is_none(length: int, kinds: int) -> None:
    assert repeated([batch_of(random_ids(8, length, vocabulary=kinds))], 8, seed=0) is None


def test_untrained_models_of_a_derived_one_are_tied_to_no_embeddings() -> None:
    config = HeedfulDerivedConfig(vocab_size=20, hidden_size=16, embedding_fingerprint="0" * 64)
    (fresh,) = fresh_models(HeedfulDerivedForCausalLM(config), 1, seed=0)
    assert torch.isfinite(fresh(torch.arange(5)[None]).logits).all()
    assert config.embedding_fingerprint == "0" * 64


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

    from heedful.evaluation.null_inputs import untrained_statistics

    batch = batch_of(IDS[:4])
    ours = untrained_statistics(build(0), 2, [batch], None, 0, build=build, paths=PATHS)
    copies = untrained_statistics(build(0), 2, [batch], None, 0)
    assert ours["concentration"].shape == copies["concentration"].shape == (2, 4)
    assert not np.allclose(ours["concentration"], copies["concentration"])


def test_every_statistic_has_a_row_a_model_and_a_column_a_head() -> None:
    batch = batch_of(random_ids(4, 32, vocabulary=64))
    again, ticks = repeated([batch], 4, seed=0), []
    found = untrained_statistics(AttentionOnly(), 3, [batch], again, 0, lambda: ticks.append(1))
    assert {"concentration", "log_contrast", "previous_mass", "same_token", "sink_mass", "induction_mass"} <= set(found)
    assert {value.shape for value in found.values()} == {(3, 4)}
    assert len(ticks) == 3
    assert (np.ptp(found["concentration"], axis=0) > 0).all()
    same = untrained_statistics(AttentionOnly(), 3, [batch], again, 0)
    np.testing.assert_array_equal(found["same_token"], same["same_token"])
    assert "induction_mass" not in untrained_statistics(AttentionOnly(), 1, [batch], None, 0)


def test_a_model_that_cannot_be_built_anew_is_told() -> None:
    model = AttentionOnly()
    model.slopes = model.norm.weight.__class__(model.norm.weight.detach().clone())
    with pytest.raises(NoFreshModel, match="slopes"):
        untrained_statistics(model, 1, [batch_of(random_ids(2, 16))], None, 0)
