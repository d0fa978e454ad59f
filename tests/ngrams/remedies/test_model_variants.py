"""Heads of given models: what their softmax saw, which is nearest, and what cannot stand beside counts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.ngrams.derivation.texts import HELD_OUT
from tests.ngrams.remedies.test_suite import FITTING, GROUND, LENGTH, MATERIAL, MEASURED, SIZE, TABLES, climbed
from transformers import (
    BertConfig,
    BertModel,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

from heedful.errors import InputRejected, UsageError
from heedful.inference.units import document_means
from heedful.loading.text_corpus import TextCorpus
from heedful.loading.token_encoder import TokenEncoder, character_tokenizer
from heedful.ngrams.counting.counting import CountSettings, count
from heedful.ngrams.counting.reading import Counts, read_counts
from heedful.ngrams.derivation.model.arms import arm_config, arm_model
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
from heedful.ngrams.derivation.model.deriving import derive
from heedful.ngrams.derivation.recipe import RECIPES, DerivationRecipe
from heedful.ngrams.derivation.row_alignment import row_alignment
from heedful.ngrams.derivation.table import stored_table
from heedful.ngrams.remedies.model_variants import (
    Subject,
    check_causal,
    given_models,
    head_logits,
    model_variants,
    nearest_head,
)
from heedful.ngrams.remedies.record import Remedy
from heedful.ngrams.remedies.running import run_ablations
from heedful.ngrams.remedies.variant import Material
from heedful.ngrams.training.model_facts import model_facts

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


SUITE_LENGTH = 16
CHANGES = "width=96 head_dim=16 inner=8 heads=2 furthest=1"
MODEL_RECIPE = replace(RECIPES["corrected"], width=96, head_dim=16, inner=8, heads=2, furthest=1)
SETTINGS = {"recipe": "corrected", "changes": CHANGES, "arm": "frozen", "embeddings": "frozen", "steps": 3}


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Counts:
    place = tmp_path_factory.mktemp("given")
    lines = HELD_OUT.read_text(encoding="utf-8").splitlines()[:6]
    (place / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    tokenizer = character_tokenizer([json.loads(line)["text"] for line in lines], None)
    settings = CountSettings(n=(1,), skips=(0, 1))
    count(TextCorpus([place / "t.jsonl"]), TokenEncoder(tokenizer, "characters"), place / "counts", settings)
    return read_counts(place / "counts")


@pytest.fixture(scope="module")
def model(counts: Counts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A derived model's folder, without a record beside it."""
    tables = {(1, skip): stored_table(counts, 1, skip) for skip in (0, 1)}
    place = tmp_path_factory.mktemp("model") / "m"
    derive(tables, MODEL_RECIPE, (), SUITE_LENGTH).model.save_pretrained(place)
    PreTrainedTokenizerFast(tokenizer_object=counts.tokenizer).save_pretrained(place)
    return place


def run(model: Path, place: Path, drift: str = "", **settings: Any) -> str:
    """The model as the folder of a run."""
    shutil.copytree(model, place)
    record: Mapping[str, Any] = {"settings": SETTINGS | settings, "text": "a", "tokenizer": "b", "versions": {}}
    (place / "run.json").write_text(json.dumps(record), encoding="utf-8")
    if drift:
        (place / "drift.csv").write_text(f"step,layer,head,relative_change,cosine\n{drift}", encoding="utf-8")
    return str(place)


def test_seeds_are_one_subject_and_trained_embeddings_find_their_twin(
    counts: Counts, model: Path, tmp_path: Path
) -> None:
    places = [run(model, tmp_path / f"left-{seed}", f"0,0,0,0,1\n3,0,0,0.{seed},0.9\n", seed=seed,
                  embeddings="trainable") for seed in (4, 5)]  # fmt: skip
    places += [run(model, tmp_path / f"frozen-{seed}", "3,0,0,0.0,1.0\n", seed=seed) for seed in (4, 5)]
    places.append(run(model, tmp_path / "linked", "3,0,0,0.7,0.8\n", embeddings="linked", relink_every=7))
    places.append(run(model, tmp_path / "other", embeddings="trainable", steps=4, seed=4))
    subjects, message = given_models(places, counts, SUITE_LENGTH)
    assert [(one.name, len(one.models), one.against) for one in subjects] == [
        ("left", 2, "frozen"), ("frozen", 2, ""), ("linked", 1, "frozen"), ("other", 1, "")
    ]  # fmt: skip
    assert all(one.recipe == MODEL_RECIPE for one in subjects)
    assert subjects[0].contexts == {(0, 0): (1, 0), (0, 1): (1, 1)}
    learnt = message[0].learnt
    assert learnt is not None and (learnt.embeddings, learnt.step) == ("trainable", 3)
    assert (list(learnt.change), list(learnt.cosine)) == ([0.4, 0.5], [0.9, 0.9])
    assert message[3].learnt is None and [Path(place).name for place in message[0].folders] == ["left-4", "left-5"]
    assert "embeddings trainable" in message[0].told and message[2].against == "frozen"


def test_learnt_attention_and_models_without_a_record_have_no_recipe(
    counts: Counts, model: Path, tmp_path: Path
) -> None:
    subjects, message = given_models([str(model), run(model, tmp_path / "arm", arm="trainable")], counts, SUITE_LENGTH)
    assert [one.recipe for one in subjects] == [None, None] and subjects[0].contexts == {}
    assert "nothing says was derived" in message[0].told
    begun = run(model, tmp_path / "begun", arm="derived-start")
    assert model_facts(Path(begun)).recipe == MODEL_RECIPE


def test_a_derivation_is_read_and_its_seeds_put_together(counts: Counts, model: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        shutil.copytree(model, tmp_path / f"d{seed}")
        record = {"recipe": asdict(MODEL_RECIPE), "seed": seed, "counts": {"tokens": 5}}
        (tmp_path / f"d{seed}" / "derivation.json").write_text(json.dumps(record), encoding="utf-8")
    subjects, message = given_models([str(tmp_path / "d0"), str(tmp_path / "d1")], counts, SUITE_LENGTH)
    assert [(one.name, len(one.models), one.recipe) for one in subjects] == [("d", 2, MODEL_RECIPE)]
    assert "width=96" in message[0].told


def test_runs_of_a_sweep_are_told_apart_by_the_folder_above(counts: Counts, model: Path, tmp_path: Path) -> None:
    places = [run(model, tmp_path / f"cell{seed}" / "trained", seed=seed) for seed in (1, 2)]
    places.append(run(model, tmp_path / "z:1, a very long name of a run", seed=1, arm="derived-start"))
    subjects, _ = given_models(places, counts, SUITE_LENGTH)
    assert [one.name for one in subjects] == ["cell", "z_1__a_very_"]
    one, two = (run(model, tmp_path / "x" / str(steps) / "run", steps=steps) for steps in (1, 2))
    assert [subject.name for subject in given_models([one, two], counts, SUITE_LENGTH)[0]] == ["run", "run#2"]


@pytest.mark.fault
def test_what_does_not_go_with_the_counts_is_one_line(counts: Counts, model: Path, tmp_path: Path) -> None:
    def refused(place: object, length: int = SUITE_LENGTH, error: type[Exception] = UsageError) -> str:
        with pytest.raises(error) as found:
            given_models([str(place)], counts, length)
        return str(found.value)

    assert "expected a file or folder, found none" in refused(tmp_path / "nowhere")
    foreign = shutil.copytree(model, tmp_path / "foreign")
    other = PreTrainedTokenizerFast(tokenizer_object=character_tokenizer(["abc"], None).backend_tokenizer)
    other.save_pretrained(foreign)
    assert "--model" in refused(foreign) and "counted with another tokenizer" in refused(foreign)
    bare = shutil.copytree(model, tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    (bare / "tokenizer_config.json").unlink()
    assert "has no tokenizer to compare" in refused(bare)

    small = tmp_path / "small"
    config = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    LlamaForCausalLM(config).save_pretrained(small)
    assert "has no tokenizer" in refused(small)
    PreTrainedTokenizerFast(tokenizer_object=counts.tokenizer).save_pretrained(small)
    assert "the model embeds 8" in refused(small, error=InputRejected)

    none, size = tmp_path / "none", counts.manifest.vocabulary
    HeedfulDerivedForCausalLM(arm_config(MODEL_RECIPE, "none", "frozen", size, SUITE_LENGTH)).save_pretrained(none)
    PreTrainedTokenizerFast(tokenizer_object=counts.tokenizer).save_pretrained(none)
    assert "it ran and showed no attention" in refused(none)


@pytest.mark.fault
def test_one_model_is_not_averaged_with_itself(counts: Counts, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="given twice"):
        given_models([str(model), f"{model}/."], counts, SUITE_LENGTH)
    pair = [run(model, tmp_path / name, seed=3) for name in ("a", "b")]
    with pytest.raises(UsageError, match="the same settings and seed as"):
        given_models(pair, counts, SUITE_LENGTH)


@pytest.mark.fault
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", "{}", "expected settings of a run"),
        ("run.json", json.dumps({"settings": SETTINGS | {"recipe": "magic"}}), "its recipe cannot be read"),
        ("derivation.json", json.dumps({"recipe": {"pattern": "no"}}), "its recipe cannot be read"),
        ("derivation.json", json.dumps({"recipe": {"magic": 1}}), "its recipe cannot be read"),
        ("derivation.json", json.dumps({"recipe": {"layers": 10**9}}), "at most 4096 heads"),
    ],
)
def test_records_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputRejected, match=message):
        model_facts(tmp_path)


@pytest.mark.fault
@pytest.mark.parametrize("drift", ["x,0,0,0,1\n", "3,0,0,,\n", " "])
def test_a_table_of_drift_that_holds_no_numbers_is_refused(model: Path, tmp_path: Path, drift: str) -> None:
    with pytest.raises(InputRejected, match=r"drift\.csv"):
        model_facts(Path(run(model, tmp_path / "r", drift)))
