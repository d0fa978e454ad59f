"""Attention beside what counts predict, against eager weights row by row, and on models whose answer is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse
from tests.ngrams.derivation.texts import characters, counted
from tests.oracles.alignment_loops import count, divergence, expected, frequency, mean_over_documents, row_numbers
from transformers import BertConfig, BertModel, MistralConfig, MistralForCausalLM

from heedful.errors import InputRejected
from heedful.loading.sequences import TokenBatch
from heedful.ngrams.alignment import count_alignment
from heedful.ngrams.alignment.count_alignment import align
from heedful.ngrams.alignment.page import FIGURES, alignment_page
from heedful.ngrams.derivation.model.deriving import derive
from heedful.ngrams.derivation.recipe import RECIPES
from heedful.ngrams.derivation.row_alignment import expected_rows, row_alignment
from heedful.ngrams.derivation.table import NgramTable
from heedful.reporting.drawing import svg
from heedful.reporting.pages.html import page_text

TEXT = characters(14_000)
SIZE = int(TEXT.max()) + 1
TABLES = {(n, 0): counted(TEXT[:12_000], n, 0, SIZE) for n in (1, 2)}


def held_out(length: int, count: int, padded: int = 0) -> TokenBatch:
    ids = torch.from_numpy(TEXT[12_000 : 12_000 + length * count].reshape(count, length).copy())
    mask = torch.ones_like(ids)
    if padded:
        mask[0, -padded:], ids[0, -padded:] = 0, 0
    nothing = torch.zeros_like(ids, dtype=torch.bool)
    return TokenBatch(
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


@pytest.mark.parametrize(("n", "skip"), [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)])
def test_every_number_by_loops_over_rows_and_keys(n: int, skip: int) -> None:
    """Contexts are the true n-grams; rows from the second on; means over a document's sequences, then documents."""
    tables = {(n, skip): counted(TEXT[:4_000], n, skip, SIZE)}
    unseen = {(n, skip): counted(TEXT[6_000:10_000], n, skip, SIZE)}
    loops = count(TEXT[:4_000].tolist(), n, skip), count(TEXT[6_000:10_000].tolist(), n, skip)
    made = derive(TABLES, replace(RECIPES["corrected"], width=96, inner=8), length=32)
    text = held_out(20, 7, padded=4)
    one = align(made.model, text, tables, unseen, resamples=99).heads[0]
    made.model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = made.model(text.input_ids, attention_mask=text.attention_mask, output_attentions=True).attentions[0]
    numbers: dict[int, list[list[list[float]]]] = {}
    both: dict[int, list[list[list[float]]]] = {}
    for sequence, document in enumerate(text.document.tolist()):
        tokens = text.input_ids[sequence][text.attention_mask[sequence].bool()].tolist()
        numbers.setdefault(document, []).append([])
        both.setdefault(document, []).append([])
        for row in range(1, len(tokens)):
            given = weights[sequence, 0, row, : row + 1].double().tolist()
            wanted, other = (expected(table, tokens, row, n) for table in loops)
            if wanted is not None:
                found = row_numbers(wanted, given, frequency(loops[0], tokens, row))
                numbers[document][-1].append(found)
                if other is not None:
                    equal = [1 / len(given)] * len(given)
                    both[document][-1].append([*found[:2], divergence(other, given), divergence(other, equal)])
    names = ("divergence", "uniform", "frequency", "cosine", "match", "chance")
    for name, value in zip(names, mean_over_documents(numbers), strict=True):
        assert getattr(one, name).estimate == pytest.approx(value, abs=2e-4), name
    assert one.unseen is not None and one.divergence.n == 4
    own, uniform, other, other_uniform = mean_over_documents(both)
    assert one.unseen.skill.estimate == pytest.approx(1 - own / uniform, abs=1e-3)
    assert one.unseen.unseen_skill.estimate == pytest.approx(1 - other / other_uniform, abs=1e-3)
    assert one.unseen.memory.estimate == pytest.approx(other / other_uniform - own / uniform, abs=1e-3)


def test_attention_by_frequency_is_not_taken_for_agreement() -> None:
    """It is better than equal weights by far, and not beyond both baselines."""
    table = TABLES[1, 0]
    frequencies = sparse.csr_array(np.tile(np.maximum(table.column_sums, 0.1), (SIZE, 1)))
    blind = {(1, 0): NgramTable(table.contexts, frequencies)}
    made = derive(blind, replace(RECIPES["corrected"], width=96, inner=8, affinity="log_probability"), length=32)
    with torch.no_grad():  # a little sharper than frequency, so that it is none of its noise
        made.model.model.layers[0].attention.q_proj.weight *= 1.15
    knowing = derive(TABLES, replace(RECIPES["corrected"], width=96, inner=8), length=32)
    text = held_out(24, 40)
    frequent, aware = (align(one.model, text, {(1, 0): table}).heads[0] for one in (made, knowing))
    assert frequent.skill.low > 0.05
    assert frequent.skill.estimate == pytest.approx(frequent.frequency_skill, abs=0.05)
    assert frequent.over_frequency.high < 0 and frequent.p > 0.5 and aware.p < 0.01


def test_the_piece_is_the_text_and_its_weights() -> None:
    recipe = replace(RECIPES["corrected"], width=96, inner=8, heads=2)
    made = derive({**TABLES, (1, 1): counted(TEXT[:12_000], 1, 1, SIZE)}, recipe, length=64)
    found = align(made.model, held_out(40, 6), TABLES)
    piece = found.piece
    assert piece is not None and len(piece.tokens) == 32
    assert [one.why for one in piece.heads] == ["nearest of all", "farthest of all"]
    assert piece.heads[0].skill == max(one.skill.estimate for one in found.heads)
    weights, wanted = np.array(piece.heads[0].weights), np.array(piece.expected)
    np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-3)
    assert not np.triu(weights, 1).any()
    rows = ~np.isnan(wanted).any(-1)
    assert rows[1:].all() and np.abs(weights - wanted)[rows].max() < 0.1


def test_the_page_fits_and_says_what_is_memory() -> None:
    made = derive(TABLES, replace(RECIPES["corrected"], width=96, inner=8), length=32)
    few = {(2, 0): counted(TEXT[:1_500], 2, 0, SIZE), (1, 0): counted(TEXT[:1_500], 1, 0, SIZE)}
    text = held_out(24, 20)
    memory = align(made.model, text, TABLES, few)
    page = page_text(alignment_page(replace(memory, held_out="unseen", counted_tokens=(12_000, 1_500))))
    assert max(map(len, page.splitlines())) <= 80
    assert "is memory of the counted text" in " ".join(page.split()) and "beyond both" in page
    same = align(made.model, text, TABLES, TABLES)
    message = " ".join(page_text(alignment_page(replace(same, held_out="unseen"))).split())
    assert "0.0% may be memory" in message
    assert all(one.unseen is not None and one.unseen.memory.estimate == 0.0 for one in same.heads)


def test_every_figure_is_drawn_and_has_its_name() -> None:
    recipe = replace(RECIPES["corrected"], width=96, inner=8, heads=2)
    made = derive({**TABLES, (1, 1): counted(TEXT[:12_000], 1, 1, SIZE)}, recipe, length=32)
    page = alignment_page(align(made.model, held_out(24, 6), TABLES))
    drawn = [part.chart() for part in page.parts if part.chart is not None]
    assert tuple(one.figure.name for one in drawn) == FIGURES
    pictures = [svg(one) for one in drawn]
    assert "n=1, skip 0" in pictures[0] and "expected, n=1 s=0" in pictures[1] and "L0H1" in pictures[1]


def test_a_window_is_held_against_what_is_expected_within_it() -> None:
    config = MistralConfig(
        vocab_size=SIZE, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=4,
    )  # fmt: skip
    torch.manual_seed(0)
    model, text = MistralForCausalLM(config).eval(), held_out(24, 6)
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight[:8] = 0.0
        model.model.layers[0].self_attn.q_proj.weight[8:] *= 30
    even, other = align(model, text, {(1, 0): TABLES[1, 0]}).heads
    assert even.gain.estimate == pytest.approx(0.0, abs=1e-6) and even.skill.estimate == pytest.approx(0.0, abs=1e-6)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = model(text.input_ids, output_attentions=True).attentions[0].double().numpy()
    table, found = TABLES[1, 0].counts.toarray(), []
    for tokens, actual in zip(text.input_ids.numpy(), weights[:, 1], strict=True):
        rows = []
        for query in range(1, len(tokens)):
            keys = np.arange(max(0, query - 3), query + 1)
            wanted = table[tokens[query], tokens[keys]]
            if wanted.sum():
                wanted = wanted / wanted.sum()
                some = wanted > 0
                rows.append((wanted[some] * np.log(wanted[some] / actual[query, keys][some])).sum())
        found.append(np.mean(rows))
    assert other.divergence.estimate == pytest.approx(np.reshape(found, (3, 2)).mean(-1).mean(), abs=1e-6)
    assert other.gain.estimate != pytest.approx(0.0, abs=1e-3)
