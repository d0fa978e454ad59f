"""Heads of given models: what their softmax saw, which is nearest, and what cannot stand beside counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.ngrams.remedies.test_suite import FITTING, GROUND, LENGTH, MATERIAL, MEASURED, SIZE, TABLES, climbed
from transformers import BertConfig, BertModel, GptOssConfig, GptOssForCausalLM, MistralConfig, MistralForCausalLM

from heedful.errors import InputRejected
from heedful.inference.units import document_means
from heedful.ngrams.derivation.model.arms import arm_config, arm_model
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
from heedful.ngrams.derivation.model.deriving import derive
from heedful.ngrams.derivation.recipe import RECIPES, DerivationRecipe
from heedful.ngrams.derivation.row_alignment import row_alignment
from heedful.ngrams.remedies.given_heads import check_causal, head_logits, nearest_head
from heedful.ngrams.remedies.model_variants import Subject, model_variants
from heedful.ngrams.remedies.record import Remedy
from heedful.ngrams.remedies.running import run_ablations
from heedful.ngrams.remedies.text import Material

RECIPE = replace(
    RECIPES["corrected"], width=32, head_dim=16, inner=8, layers=2, heads=2, furthest=1, affinity="log_probability"
)


def made(recipe: DerivationRecipe = RECIPE, seed: int = 0) -> HeedfulDerivedForCausalLM:
    return derive(TABLES, recipe, list(FITTING.tokens), LENGTH, seed).model


def measured(*subjects: Subject, material: Material = MATERIAL) -> tuple[dict[str, Remedy], dict[str, str]]:
    variants, skipped = model_variants(subjects, material, [])
    record = run_ablations(material, variants, GROUND, seeds=(0, 1), skipped=skipped)
    return {one.name: one for one in record.remedies}, record.skipped


def small(window: int | None = None) -> MistralForCausalLM:
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=SIZE, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, sliding_window=window,
    )  # fmt: skip
    return MistralForCausalLM(config).eval()


def with_sinks() -> GptOssForCausalLM:
    torch.manual_seed(0)
    config = GptOssConfig(
        vocab_size=SIZE, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, num_local_experts=2, num_experts_per_tok=1, layer_types=["full_attention"],
    )  # fmt: skip
    model = GptOssForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "sinks" in name:
                parameter.copy_(torch.tensor([1.0, 3.0]))
            elif "embed" in name:
                parameter.mul_(200.0)
    return model


@pytest.mark.parametrize("build", [small, with_sinks])
def test_a_head_of_any_model_has_the_numbers_of_its_eager_weights(build: object) -> None:
    model = build()  # type: ignore[operator]
    found, _ = measured(Subject(name="any", models=[model], recipe=None))
    one = next(one for name, one in found.items() if name.startswith("any:"))
    layer, head = (int(part) for part in one.name.removeprefix("any:L").split("H"))
    model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = model(torch.from_numpy(MEASURED.tokens), output_attentions=True).attentions[layer][:, head]
    expected = MATERIAL.expected("measured", 1)
    rows = np.arange(1, LENGTH)
    values = []
    for wanted, own in zip(expected, weights.double().clamp_min(1e-300).log().numpy(), strict=True):
        parts = row_alignment(wanted, own[1:], rows)
        values.append([np.nanmean(parts.divergence), np.nanmean(parts.cosine), np.nanmean(parts.match)])
    means = document_means(np.array(values), MEASURED.document).mean(0)
    agreement = one.agreement
    for effect, value in zip((agreement.divergence, agreement.cosine, agreement.match), means, strict=True):
        assert effect.estimate == pytest.approx(value, abs=1e-4)
    assert 0 < one.entropy.estimate <= 1 + 1e-9 and one.best <= agreement.divergence.estimate + 0.02


def test_a_derived_model_measures_as_its_recipe_does() -> None:
    """The suite's own variant derives the model anew: the same head, by another way in."""
    models = [made(GROUND.log_p, seed) for seed in (0, 1)]
    found, _ = measured(Subject(name="given", models=models, recipe=GROUND.log_p))
    one, own = found["given:L0H0"], climbed("log_p")["log_p"]
    assert one.agreement.divergence.estimate == pytest.approx(own.agreement.divergence.estimate, abs=1e-9)
    assert (one.spread, one.factor, one.best) == pytest.approx((own.spread, own.factor, own.best), abs=1e-9)
    assert (one.seeds, one.n, one.skip) == (2, 1, 0)
    assert one.step is not None and one.step.against == "uniform" and one.step.gain.low > 0


def test_every_derived_head_is_held_against_its_own_counts() -> None:
    found, _ = measured(Subject(name="m", models=[made()], recipe=RECIPE))
    assert [(one.n, one.skip) for one in found.values()] == [(1, 0), (1, 1), (1, 0), (1, 1), (1, 0), (1, 1)]
    assert [name for name in found if name.startswith("uniform")] == ["uniform", "uniform_1_skip_1"]
    assert all(found[f"m:L0H{head}"].agreement.skill.low > 0.9 for head in (0, 1))
    step = found["m:L0H1"].step
    assert step is not None and step.against == "uniform_1_skip_1"
    base, own = (found[name].agreement.divergence.estimate for name in ("uniform_1_skip_1", "m:L0H1"))
    assert step.gain.estimate == pytest.approx(base - own, abs=1e-9)


def test_layers_of_longer_contexts_are_held_against_counts_of_those() -> None:
    recipe = replace(RECIPE, heads=1, furthest=0, longest=2)
    found, _ = measured(Subject(name="m", models=[made(recipe)], recipe=recipe))
    assert [(name, one.n, one.skip) for name, one in found.items()] == [
        ("uniform", 1, 0), ("uniform_2", 2, 0), ("m:L0H0", 1, 0), ("m:L1H0", 2, 0)
    ]  # fmt: skip
    step = found["m:L1H0"].step
    assert step is not None and step.against == "uniform_2"


def test_embeddings_that_left_their_attention_are_told_from_linked_ones() -> None:
    frozen = made()
    left = HeedfulDerivedForCausalLM(type(frozen.config)(**frozen.config.to_dict() | {"frozen_embeddings": False}))
    left.load_state_dict(frozen.state_dict())
    with torch.no_grad():
        rows = left.model.embed_tokens.weight
        rows.add_(0.3 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(1)))
    subjects = [
        Subject(name="frozen", models=[frozen], recipe=RECIPE),
        Subject(name="left", models=[left.eval()], recipe=RECIPE, against="frozen"),
        Subject(name="same", models=[made()], recipe=RECIPE, against="frozen"),
    ]
    found, _ = measured(*subjects)
    for head in ("L0H0", "L0H1"):
        lost, kept = found[f"left:{head}"].step, found[f"same:{head}"].step
        assert lost is not None and lost.against == f"frozen:{head}" and lost.gain.high < -0.05 and lost.p < 0.05
        assert kept is not None and kept.gain.estimate == pytest.approx(0, abs=1e-9)


def test_the_nearest_head_is_found_on_the_fitting_pieces() -> None:
    model = made()
    for skip in (0, 1):
        assert nearest_head(model, FITTING.tokens, MATERIAL.expected("fitting", 1, skip)) == (0, skip)
    arm = arm_model(
        derive(TABLES, RECIPE, (), LENGTH), arm_config(RECIPE, "trainable", "frozen", SIZE, LENGTH), "trainable", 0
    )
    foreign = Material(TABLES, MEASURED, FITTING)
    found, _ = measured(Subject(name="learnt", models=[model, arm], recipe=None), material=foreign)
    name = next(name for name in found if name.startswith("learnt:"))
    assert "nearest of all heads" in found[name].change and found[name].seeds == 2


def test_heads_that_look_back_by_a_fixed_number_are_left_out_by_name() -> None:
    recipe = replace(RECIPES["offset"], width=32, head_dim=16, inner=8)
    back = Subject(name="back", models=[], recipe=recipe)
    found, skipped = measured(back, Subject(name="one", models=[made()], recipe=RECIPE))
    assert "counts do not say where it should attend" in skipped["back"]
    assert not [name for name in found if name.startswith("back")]


def test_keys_behind_a_window_and_later_tokens_are_refused() -> None:
    with pytest.raises(InputRejected, match="keys are hidden from some queries"):
        head_logits(small(window=4), MEASURED.tokens, 0, 0)
    _, skipped = measured(
        Subject(name="narrow", models=[small(window=4)], recipe=None),
        Subject(name="one", models=[made()], recipe=RECIPE),
    )
    assert "hides keys from some queries" in skipped["narrow"]
    with pytest.raises(InputRejected, match="no attention of it was captured"):
        head_logits(small(), MEASURED.tokens, 7, 0)
    config = BertConfig(
        vocab_size=SIZE, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    with pytest.raises(InputRejected, match=r"--model x: .*its queries see later tokens"):
        check_causal(BertModel(config).eval(), MEASURED.tokens[:1], "--model x")
    with pytest.raises(InputRejected, match="its forward raised on 10 token ids"):
        check_causal(torch.nn.Linear(3, 3), MEASURED.tokens[:1], "x")


def test_counts_of_a_skip_that_were_not_made_are_named() -> None:
    poor = Material({(1, 0): TABLES[1, 0]}, MEASURED, FITTING)
    found, skipped = measured(Subject(name="m", models=[made()], recipe=RECIPE), material=poor)
    assert "heedful ngrams count --n 1 --skip 0..1" in skipped["m:L0H1"] and "m:L0H0" in found
