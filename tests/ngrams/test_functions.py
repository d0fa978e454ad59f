"""Counts to remedies by the public functions, on a text of a few sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import heedful
from heedful.errors import InputRejected, UsageError
from heedful.ngrams.counting.count import CountSummary
from heedful.ngrams.derivation.derive import Derivation

SENTENCES = ("the cat sat on the mat. ", "a dog ran to the cat. ", "the mat was on a dog. ")
SMALL = ["layers=1", "heads=2", "width=64", "head_dim=16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ngrams")
    for number in range(6):
        turned = SENTENCES[number % 3 :] + SENTENCES[: number % 3]
        (place / f"{number}.txt").write_text("".join(turned) * (8 + number))
    return place


@pytest.fixture(scope="module")
def counts(folder: Path) -> CountSummary:
    return heedful.count([folder / f"{number}.txt" for number in range(5)], folder / "counts", n=[1, 2], skip="0..1")


@pytest.fixture(scope="module")
def derived(folder: Path, counts: CountSummary) -> Derivation:
    return heedful.derive(counts, folder / "derived", change=SMALL)


def test_counting_says_what_was_counted(counts: CountSummary, folder: Path) -> None:
    assert repr(counts).startswith(f"CountSummary({counts.manifest.tokens:,} tokens, 4 tables in {folder}")
    document = json.loads(counts.to_json())
    assert document["schema"] == "heedful.count/1" and document["seconds"] > 0
    assert "Counts of n-grams" in counts.to_html() and counts.counts().facts(2, 1).n == 2


def test_one_path_and_a_number_are_enough(folder: Path) -> None:
    one = heedful.count(str(folder / "5.txt"), folder / "other", n=1, skip=0)
    assert [table.n for table in one.manifest.tables if table.n] == [1]
    assert heedful.read_counts(one.out, text=folder / "5.txt").manifest == one.manifest


@pytest.mark.slow
def test_a_derivation_is_a_model_with_its_tokenizer_saved_or_not(derived: Derivation, folder: Path) -> None:
    assert repr(derived).endswith(f"in {folder / 'derived'})") and (folder / "derived" / "derivation.json").is_file()
    ids = torch.tensor([derived.tokenizer.encode("the cat").ids])
    assert derived.model(ids).logits.shape[:2] == ids.shape
    again = heedful.derive(folder / "counts", change=SMALL)
    assert again.out is None and again.to_json() == derived.to_json()
    assert "Derived attention" in derived.to_html()
    with pytest.raises(UsageError, match="expected none together with your own recipe"):
        heedful.derive(folder / "counts", recipe=heedful.ngrams.derivation.recipe.DerivationRecipe(), change="width=64")


@pytest.mark.slow
def test_explaining_takes_the_folder_or_the_derivation(derived: Derivation, counts: CountSummary, folder: Path) -> None:
    text = folder / "5.txt"
    found = heedful.explain(derived, counts, text=text)
    assert found == heedful.explain(folder / "derived", folder / "counts", text=text.read_text())
    assert repr(found).startswith("Explanation(") and len(repr(found)) < 200


@pytest.mark.slow
def test_alignment_takes_a_module_its_tokenizer_and_texts(
    derived: Derivation, counts: CountSummary, folder: Path
) -> None:
    texts = [(folder / f"{number}.txt").read_text() for number in range(6)]
    found = heedful.align(derived.model, counts, derived.tokenizer, texts, seq_len=32, n=1)
    assert {(one.layer, one.head) for one in found.heads} == {(0, 0), (0, 1)} and found.text_was_counted == "unknown"
    named = heedful.align(str(folder / "derived"), folder / "counts", text=[folder / "1.txt"], seq_len=32)
    assert named.text_was_counted == "yes" and repr(named).endswith("2 heads compared with 1 table)")
    with pytest.raises(InputRejected, match="counted with another tokenizer"):
        heedful.align(None, counts, seq_len=16)


@pytest.mark.slow
def test_remedies_of_one_rung(counts: CountSummary, folder: Path) -> None:
    texts = [(folder / f"{number}.txt").read_text() for number in range(6)]
    found = heedful.remedy(counts, texts, variants="baselines", seeds=1, length=16, sequences=8)
    assert found.remedies and repr(found).startswith("AblationSuite(")
