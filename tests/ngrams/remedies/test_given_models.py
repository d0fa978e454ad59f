"""Models of a suite: seeds put together, twins found, drift read, and what does not fit refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from tests.ngrams.derivation.texts import HELD_OUT
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from heedful.errors import InputRejected, UsageError
from heedful.loading.learnt_tokenizer import character_tokenizer
from heedful.loading.text_corpus import TextCorpus
from heedful.loading.token_encoder import TokenEncoder
from heedful.ngrams.counting.counting import CountSettings, count
from heedful.ngrams.counting.reading import Counts, read_counts
from heedful.ngrams.derivation.model.arms import arm_config
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
from heedful.ngrams.derivation.model.deriving import derive
from heedful.ngrams.derivation.recipe import RECIPES
from heedful.ngrams.derivation.table import stored_table
from heedful.ngrams.remedies.given_models import given_models
from heedful.ngrams.training.model_facts import model_facts

LENGTH = 16
CHANGES = "width=96 head_dim=16 inner=8 heads=2 furthest=1"
RECIPE = replace(RECIPES["corrected"], width=96, head_dim=16, inner=8, heads=2, furthest=1)
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
    derive(tables, RECIPE, (), LENGTH).model.save_pretrained(place)
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
    subjects, message = given_models(places, counts, LENGTH)
    assert [(one.name, len(one.models), one.against) for one in subjects] == [
        ("left", 2, "frozen"), ("frozen", 2, ""), ("linked", 1, "frozen"), ("other", 1, "")
    ]  # fmt: skip
    assert all(one.recipe == RECIPE for one in subjects)
    assert subjects[0].contexts == {(0, 0): (1, 0), (0, 1): (1, 1)}
    learnt = message[0].learnt
    assert learnt is not None and (learnt.embeddings, learnt.step) == ("trainable", 3)
    assert (list(learnt.change), list(learnt.cosine)) == ([0.4, 0.5], [0.9, 0.9])
    assert message[3].learnt is None and [Path(place).name for place in message[0].folders] == ["left-4", "left-5"]
    assert "embeddings trainable" in message[0].told and message[2].against == "frozen"


def test_learnt_attention_and_models_without_a_record_have_no_recipe(
    counts: Counts, model: Path, tmp_path: Path
) -> None:
    subjects, message = given_models([str(model), run(model, tmp_path / "arm", arm="trainable")], counts, LENGTH)
    assert [one.recipe for one in subjects] == [None, None] and subjects[0].contexts == {}
    assert "nothing says was derived" in message[0].told
    begun = run(model, tmp_path / "begun", arm="derived-start")
    assert model_facts(Path(begun)).recipe == RECIPE


def test_a_derivation_is_read_and_its_seeds_put_together(counts: Counts, model: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        shutil.copytree(model, tmp_path / f"d{seed}")
        record = {"recipe": asdict(RECIPE), "seed": seed, "counts": {"tokens": 5}}
        (tmp_path / f"d{seed}" / "derivation.json").write_text(json.dumps(record), encoding="utf-8")
    subjects, message = given_models([str(tmp_path / "d0"), str(tmp_path / "d1")], counts, LENGTH)
    assert [(one.name, len(one.models), one.recipe) for one in subjects] == [("d", 2, RECIPE)]
    assert "width=96" in message[0].told


def test_runs_of_a_sweep_are_told_apart_by_the_folder_above(counts: Counts, model: Path, tmp_path: Path) -> None:
    places = [run(model, tmp_path / f"cell{seed}" / "trained", seed=seed) for seed in (1, 2)]
    places.append(run(model, tmp_path / "z:1, a very long name of a run", seed=1, arm="derived-start"))
    subjects, _ = given_models(places, counts, LENGTH)
    assert [one.name for one in subjects] == ["cell", "z_1__a_very_"]
    one, two = (run(model, tmp_path / "x" / str(steps) / "run", steps=steps) for steps in (1, 2))
    assert [subject.name for subject in given_models([one, two], counts, LENGTH)[0]] == ["run", "run#2"]


@pytest.mark.fault
def test_what_does_not_go_with_the_counts_is_one_line(counts: Counts, model: Path, tmp_path: Path) -> None:
    def refused(place: object, length: int = LENGTH, error: type[Exception] = UsageError) -> str:
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
    HeedfulDerivedForCausalLM(arm_config(RECIPE, "none", "frozen", size, LENGTH)).save_pretrained(none)
    PreTrainedTokenizerFast(tokenizer_object=counts.tokenizer).save_pretrained(none)
    assert "it ran and showed no attention" in refused(none)


@pytest.mark.fault
def test_one_model_is_not_averaged_with_itself(counts: Counts, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="given twice"):
        given_models([str(model), f"{model}/."], counts, LENGTH)
    pair = [run(model, tmp_path / name, seed=3) for name in ("a", "b")]
    with pytest.raises(UsageError, match="the same settings and seed as"):
        given_models(pair, counts, LENGTH)


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
