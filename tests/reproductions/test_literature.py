"""Claims of the literature are reproduced where the world is as they say, refuted where it is not; small models run."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import reproductions.topics  # noqa: F401  (registers every claim)
import torch
from reproductions.answer import Answer
from reproductions.evidence import Measurements
from reproductions.judging import Answered, judge
from reproductions.literature import measuring, removing, tools
from reproductions.literature.__main__ import DECODER, main
from reproductions.literature.texts import descriptions, prose
from reproductions.published import CLAIMS
from tests.evaluation.material import tiny_bert
from tests.reproductions import literature_worlds as worlds

from heedful.inference.verdict import Verdict

TESTED = [name for name, claim in CLAIMS.items() if claim.note == "literature" and claim.judge is not None]
LENGTH, VOCABULARY = 64, 1400


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, dict[str, Answered]]:
    found = {}
    for as_claimed in (True, False):
        folder = tmp_path_factory.mktemp("world")
        worlds.write_world(folder, as_claimed)
        wanted = [claim for claim in CLAIMS.values() if claim.note == "literature"]
        found[as_claimed] = {one.name: one for one in judge(wanted, Measurements(folder))}
    return found


def test_at_least_twelve_claims_are_tested() -> None:
    assert len(TESTED) >= 12


@pytest.mark.parametrize("name", TESTED)
def test_a_claim_holds_in_its_world_and_not_in_the_other(name: str, answers: dict[bool, dict[str, Answered]]) -> None:
    assert answers[True][name].answer == Answer.REPRODUCED, answers[True][name]
    assert answers[False][name].answer == Answer.REFUTED, answers[False][name]


def test_what_decides_has_a_threshold_a_null_and_documents(answers: dict[bool, dict[str, Answered]]) -> None:
    for one in answers[True].values():
        for finding in one.findings:
            if finding.verdict in (Verdict.PASS, Verdict.ABSENT):
                assert finding.threshold is not None and finding.null and finding.interval and finding.n >= 6, finding


class Words:
    """A tokenizer that answers every text with three tokens, and names every token a word."""

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [5, 6, 7 + len(text)]}

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return ["Ġ" + "abcdefgh"[index % 8] * 6 for index in ids if index < VOCABULARY]


@pytest.fixture(scope="module")
def decoder() -> tools.Given:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=32, max_position_embeddings=256,
    )  # fmt: skip
    ids = torch.randint(0, VOCABULARY, (11, 2 * LENGTH), generator=torch.Generator().manual_seed(1))
    model = LlamaForCausalLM(config).eval()
    naming, held = ids[:5, : 2 * LENGTH], ids[5:, : 2 * LENGTH]
    return tools.Given(model, naming, held, held, 4, 4, VOCABULARY, Words())


@pytest.mark.parametrize("part", DECODER)
def test_a_small_decoder_is_measured_and_left_as_it_was(
    part: str, decoder: tools.Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removing, "ALONE", 2)
    monkeypatch.setattr(measuring, "DRAWS", 1)
    monkeypatch.setattr(measuring, "REPEATS", (2, 5))
    monkeypatch.setattr(removing, "DRAWS", 1)
    before = tools.losses(decoder.model, decoder.held)
    found = DECODER[part](decoder)
    (tmp_path / f"literature-{part}.json").write_text(json.dumps(found))
    assert np.array_equal(tools.losses(decoder.model, decoder.held), before)
    answered = judge([claim for claim in CLAIMS.values() if claim.note == "literature"], Measurements(tmp_path))
    assert part == "last_layers" or any(one.answer != Answer.UNTESTED for one in answered)


def test_a_small_encoder_is_measured() -> None:
    ids = torch.randint(0, 24, (10, 16), generator=torch.Generator().manual_seed(1))
    found = removing.encoder(tools.Given(tiny_bert(), ids[:4], ids[4:], ids, 2, 4, 24, Words()))
    assert np.shape(found["separator_by_layer"]) == (6, 2) and np.shape(found["before_named"]) == (4, 8)


def test_a_repeat_is_found_and_a_head_that_gives_nothing_changes_the_loss(decoder: tools.Given) -> None:
    ids = tools.repeats(VOCABULARY, 3, 8, seed=0)
    assert torch.equal(ids[:, :8], ids[:, 8:]) and ids.min() >= 1000
    intact = tools.losses(decoder.model, ids)
    with tools.without(decoder.model, decoder.places):
        assert (tools.losses(decoder.model, ids) != intact).any()
    chosen = [(1, 0), (1, 1), (2, 3)]
    other = tools.others(chosen, decoder.places, seed=0)
    assert len(set(other)) == 3 and not set(other) & set(chosen)
    assert sorted(layer for layer, _ in other) == [1, 1, 2]


def test_the_spectral_norm_is_that_of_the_whole_product() -> None:
    query, key = torch.randn(2, 4, 20, generator=torch.Generator().manual_seed(0)).double()
    assert removing._spectral(query, key) == pytest.approx(float(torch.linalg.matrix_norm(query.T @ key, 2)))


def test_prose_is_what_is_left_of_a_description() -> None:
    sentence = "This package measures what it says that it measures, and tells you when it cannot do so at all."
    said = sentence.replace("package", "`package`")
    text = f"# Title\n\n```\ncode\n```\n\n[![badge](https://x)](y)\n\n{said}\n\n    pip install it"
    assert prose(text) == sentence
    texts = descriptions(400).texts
    assert len(texts) >= 32 and len(set(texts)) == len(texts)


def test_models_that_are_not_there_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "out"), "--models", str(tmp_path)]) == 3
    assert "make realmodels" in capsys.readouterr().err


def test_what_is_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reproductions.literature import opening

    asked: list[Any] = []
    monkeypatch.setattr(opening, "decoder", lambda models: asked.append(models) or SimpleNamespace())
    monkeypatch.setitem(DECODER, "entropy", lambda given: {"entropy": [[1.0]]})
    words = [str(tmp_path), "--models", "somewhere", "--part", "entropy"]
    assert main(words) == main(words) == 0
    assert len(asked) == 1 and json.loads((tmp_path / "literature-entropy.json").read_text()) == {"entropy": [[1.0]]}
