"""Attention beside what counts predict, against eager weights row by row, and on models whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.derivation.texts import characters, counted
from transformers import BertConfig, BertModel

from heedful.core.errors import InputRejected
from heedful.derivation import expected_rows, row_alignment
from heedful.derivation.recipe import RECIPES
from heedful.loading.sequences import Sequences
from heedful.models.deriving import derive
from heedful.study import count_alignment
from heedful.study.count_alignment import align

TEXT = characters(14_000)
SIZE = int(TEXT.max()) + 1
TABLES = {(n, 0): counted(TEXT[:12_000], n, 0, SIZE) for n in (1, 2)}


def held_out(length: int, count: int, padded: int = 0) -> Sequences:
    ids = torch.from_numpy(TEXT[12_000 : 12_000 + length * count].reshape(count, length).copy())
    mask = torch.ones_like(ids)
    if padded:
        mask[0, -padded:], ids[0, -padded:] = 0, 0
    nothing = torch.zeros_like(ids, dtype=torch.bool)
    return Sequences(
        input_ids=ids, attention_mask=mask, document=torch.arange(count) // 2, document_names=("text",) * count,
        special=nothing, punctuation=nothing, tokens=str, origin="text", notes=(), fingerprint="",
    )  # fmt: skip


def test_every_number_is_that_of_the_eager_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count_alignment, "BLOCK", 7)
    recipe = replace(RECIPES["corrected"], width=96, inner=8, heads=2)
    made = derive({**TABLES, (1, 1): counted(TEXT[:12_000], 1, 1, SIZE)}, recipe, length=32)
    text = held_out(24, 6, padded=5)
    found = align(made.model, text, TABLES)
    made.model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = made.model(text.input_ids, attention_mask=text.attention_mask, output_attentions=True).attentions[0]
    assert [(one.layer, one.head, one.n) for one in found.heads] == [(0, 0, 1), (0, 0, 2), (0, 1, 1), (0, 1, 2)]
    for one in found.heads:
        wanted = []
        for sequence, (ids, mask) in enumerate(zip(text.input_ids, text.attention_mask, strict=True)):
            length = int(mask.sum())
            rows, tokens = np.arange(1, length), ids[:length].numpy()
            actual = weights[sequence, one.head, 1:length, :length].double().clamp_min(1e-300).log().numpy()
            parts = row_alignment(expected_rows(TABLES[one.n, 0], tokens, rows), actual, rows)
            wanted.append(
                [np.nanmean(part) for part in (parts.divergence, parts.uniform_divergence, parts.cosine, parts.match)]
            )
        for effect, value in zip(
            (one.divergence, one.uniform, one.cosine, one.match), np.mean(wanted, axis=0), strict=True
        ):
            assert effect.estimate == pytest.approx(value, abs=1e-4)
        assert one.gain.estimate == pytest.approx(one.uniform.estimate - one.divergence.estimate)
        assert one.gain.n == 3


def test_skill_is_one_for_exact_attention_and_nothing_for_uniform_attention() -> None:
    exact = derive(TABLES, replace(RECIPES["corrected"], width=96, inner=8), length=32)
    lost = derive(TABLES, replace(RECIPES["corrected"], width=96, inner=8, calibration="std", target=1e-9), length=32)
    text = held_out(24, 16)
    best = next(one for one in align(exact.model, text, TABLES).heads if one.n == 1)
    none = next(one for one in align(lost.model, text, TABLES).heads if one.n == 1)
    assert best.skill.estimate > 0.97 and best.match.estimate > 0.95
    assert none.skill.estimate == pytest.approx(0.0, abs=1e-3)
    assert none.divergence.estimate == pytest.approx(none.uniform.estimate, abs=1e-3)


def test_models_that_see_later_tokens_are_refused() -> None:
    config = BertConfig(
        vocab_size=SIZE, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    with pytest.raises(InputRejected, match="its queries see later tokens"):
        align(BertModel(config).eval(), held_out(24, 4), TABLES)


def test_counts_of_another_text_say_so() -> None:
    made = derive(TABLES, replace(RECIPES["corrected"], width=96, inner=8), length=32)
    elsewhere = {(2, 0): counted(np.array([SIZE - 1, SIZE - 2, SIZE - 1, SIZE - 2]), 2, 0, SIZE)}
    with pytest.raises(InputRejected, match="no context of the text was counted"):
        align(made.model, held_out(24, 4), elsewhere)
