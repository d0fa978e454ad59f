"""Explanations name the fault that was planted, and every number of the sweep is one that can be had otherwise."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.ngrams.derivation.texts import characters, counted

from heedful.ngrams.derivation.model.deriving import derive
from heedful.ngrams.derivation.recipe import RECIPES, DerivationRecipe
from heedful.ngrams.explanation.explain import explanation_of
from heedful.ngrams.explanation.page import explanation_page, scale_chart
from heedful.ngrams.explanation.record import Explanation
from heedful.reporting.pages.html import page_text
from heedful.reporting.pages.part import record_json

TEXT = characters(14_000)
SIZE = int(TEXT.max()) + 1
TABLES = {(n, s): counted(TEXT[:12_000], n, s, SIZE) for n, s in [(1, 0), (1, 1), (2, 0)]}
DOCUMENTS = [TEXT[start : start + 16] for start in range(12_000, 12_000 + 16 * 20, 16)]
SEED = replace(
    RECIPES["seed"], width=96, head_dim=48, layers=1, heads=1, longest=1, furthest=0, inner=8, positions="none"
)


def explained(recipe: DerivationRecipe, scales: tuple[float, ...] = ()) -> Explanation:
    made = derive(TABLES, recipe, DOCUMENTS, 32)
    return explanation_of(made.model, TABLES, recipe, DOCUMENTS, scales=scales)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (SEED, "have nothing to do with the affinity"),
        (replace(SEED, kept="embedding", target=1e-3), "too flat because its logits are too small"),
        (replace(SEED, kept="embedding", target=0.5), "It is too sharp"),
        (replace(SEED, kept="embedding", calibration="divergence"), "no multiple of normalised is"),
        (replace(RECIPES["corrected"], width=96, inner=8), "Its temperature is near the best"),
    ],
    ids=["lost", "cold", "hot", "linear", "corrected"],
)
def test_the_planted_fault_is_the_cause(recipe: DerivationRecipe, words: str) -> None:
    assert words in explained(recipe).cause


def test_a_width_that_tokens_do_not_fit_is_the_cause() -> None:
    """Embeddings are kept, by their fingerprint, and are not blamed; what projections read is what was measured."""
    narrow = replace(RECIPES["corrected"], width=3, inner=8, head_dim=2)
    query, key = derive(TABLES, narrow, DOCUMENTS, 32).heads[0][0].unread or (0.0, 0.0)
    cause = explained(narrow).cause
    assert f"read {1 - query:.0%} of what queries should be and {1 - key:.0%} of keys" in cause
    assert f"{SIZE} tokens do not fit in a width of 3: derive with --set width={1 << SIZE.bit_length()}" in cause
    assert "are not those" not in cause and "fingerprint" in cause


def test_embeddings_are_blamed_where_no_fingerprint_speaks_for_them() -> None:
    recipe = replace(RECIPES["corrected"], width=96, inner=8)
    model = derive(TABLES, recipe, DOCUMENTS, 32).model
    model.config.embedding_fingerprint = None
    with torch.no_grad():
        model.model.embed_tokens.weight.normal_(generator=torch.Generator().manual_seed(1))
    cause = explanation_of(model, TABLES, recipe, DOCUMENTS, scales=()).cause
    assert "No fingerprint says that the model's embeddings are those" in cause and "do not fit" not in cause


def test_positions_that_matrices_do_not_know_are_measured() -> None:
    recipe = replace(SEED, kept="embedding", positions="sinusoidal", width=4, head_dim=2)
    # Half the numbers of a sinusoid's vector are squared sines, half squared cosines; embeddings have length 1.
    assert "squared, 2 times the embeddings" in explained(recipe).cause


def test_heads_that_look_a_fixed_way_back_are_not_called_lost() -> None:
    recipe = replace(RECIPES["offset"], width=96, inner=8, heads=1, furthest=0)
    assert "a fixed number of tokens back, 0, whatever the tokens are" in explained(recipe).cause


def test_contexts_that_the_query_does_not_see_are_the_cause() -> None:
    blind = replace(RECIPES["corrected"], width=96, inner=8, shortest=2, longest=2, query="last_token")
    assert "the current token alone cannot follow" in explained(blind).cause


def test_the_sweep_goes_from_uniform_to_one_key() -> None:
    found = explained(replace(SEED, kept="embedding"), scales=(0.001, 0.01, 0.02, 1.0))
    assert found.ceiling == pytest.approx(np.log(np.arange(2, 17)).mean())
    shares = [one.layers[0].share.estimate for one in found.scales]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(1.0, abs=1e-3) and shares[-1] < 0.1
    assert found.scales[0].layers[0].entropy.estimate == pytest.approx(found.ceiling, abs=1e-3)
    assert found.scales[0].layers[0].skill == pytest.approx(0.0, abs=0.05)
    assert found.scales[-1].layers[0].skill < -5
    matches = [one.layers[0].match.estimate for one in found.scales]
    assert matches == pytest.approx([matches[0]] * 4)


def test_ceilings_of_32_keys_are_those_of_equal_weights() -> None:
    """The first row, with one key, adds an entropy of 0 and a largest weight of 1 to the published means."""
    documents = [TEXT[start : start + 32] for start in range(12_000, 12_000 + 32 * 20, 32)]
    flat = replace(SEED, target=1e-9)
    found = explanation_of(derive(TABLES, flat, documents, 32).model, TABLES, flat, documents, scales=())
    entropy, largest = (getattr(found.own.layers[0], word).estimate for word in ("entropy", "largest"))
    assert 31 * found.ceiling / 32 == pytest.approx(2.548686, abs=1e-6)
    assert 31 * entropy / 32 == pytest.approx(2.548686, abs=1e-6)
    assert (31 * largest + 1) / 32 == pytest.approx(0.126828, abs=1e-6)


def test_bare_scores_grow_with_the_square_of_the_scale() -> None:
    raw = [one.layers[0].raw for one in explained(replace(SEED, kept="embedding"), scales=(0.001, 0.01, 0.1)).scales]
    assert np.polyfit(np.log([0.001, 0.01, 0.1]), np.log(raw), 1)[0] == pytest.approx(2.0, abs=0.01)


def test_geometry_of_exact_scores() -> None:
    geometry = explained(replace(RECIPES["corrected"], width=96, inner=8)).geometry
    assert geometry.correlation > 0.99 and geometry.error < 0.15
    assert geometry.similarity[1] == pytest.approx(geometry.null, rel=0.15)


def test_notes_stand_at_the_top_of_the_page() -> None:
    made = derive(TABLES, SEED, DOCUMENTS, 32)
    found = explanation_of(made.model, TABLES, SEED, DOCUMENTS, scales=(), notes=("Something is odd.",))
    assert explanation_page(found).subject.endswith("Note: Something is odd.")
    assert '"Something is odd."' in record_json(found)


def test_the_page_fits_and_the_document_is_whole() -> None:
    found = explained(SEED, scales=(0.01, 1.0))
    page = page_text(explanation_page(found))
    assert max(map(len, page.splitlines())) <= 80
    assert "AT OTHER SCALES" in page and found.cause.split(".")[0][:40] in " ".join(page.split())
    assert '"schema": "heedful.explanation/1"' in record_json(found)


def test_the_figure_says_that_it_cuts_skills() -> None:
    found = explained(SEED, scales=(0.01, 1.0))
    assert found.scales[-1].layers[0].skill < -1
    drawn = json.dumps(scale_chart(found).chart.to_dict())
    assert '"skill": -1.0' in drawn and "below -1 at the edge" in drawn


def test_the_geometry_by_hand() -> None:
    """Against plain matrices: the model's own projections, the table's own counts."""
    recipe = replace(SEED, kept="embedding", target=0.02)
    made = derive(TABLES, recipe, DOCUMENTS, 32)
    found = explanation_of(made.model, TABLES, recipe, DOCUMENTS, scales=())
    rows = made.model.model.embed_tokens.weight.detach().double().numpy()
    attention = made.model.model.layers[0].attention
    query, key = (part.weight.detach().double().numpy().T for part in (attention.q_proj, attention.k_proj))
    assert found.own.layers[0].raw == pytest.approx(np.abs(rows @ query @ key.T @ rows.T).mean())
    rank, other = (np.linalg.matrix_rank(part, tol=1e-5) for part in (query, key))

    def shared(asked: np.ndarray) -> float:
        projections = [part @ np.linalg.pinv(part, rcond=1e-5) for part in (asked, key)]
        return float(np.trace(projections[0] @ projections[1]) / min(rank, other))

    assert found.geometry.shared == pytest.approx(shared(query), rel=1e-4)
    assert found.geometry.shared_null == pytest.approx(max(rank, other) / 96)
    assert found.geometry.with_diagonal == pytest.approx(((rows @ rows.T).mean(), (rows @ rows.T).std()))
    product = query.T @ key
    assert found.geometry.product == pytest.approx((product.mean(), abs(product).max()), rel=1e-4)
    assert found.geometry.product_diagonal == pytest.approx(product.diagonal()[:5], rel=1e-4, abs=1e-6)
    for one in found.own.layers:  # equal weights match as often as chance; content heads more often
        assert one.chance is not None and 0 < one.chance.estimate < one.match.estimate
    mixed = query @ np.random.default_rng(0).standard_normal((48, 48))
    assert found.geometry.shared == pytest.approx(shared(mixed), rel=1e-2)


def test_the_factors_are_those_of_the_counts() -> None:
    parts = explained(SEED).decomposition
    assert parts is not None
    counts = TABLES[1, 0].counts.toarray()
    roots = [np.sqrt(np.maximum(counts.sum(axis), 1e-300)) for axis in (1, 0)]
    values = np.linalg.svd(counts / np.outer(*roots), compute_uv=False)
    assert list(parts.singular_values) == pytest.approx(values[: len(parts.singular_values)].tolist(), abs=1e-9)
    smallest = values[len(parts.singular_values) - 1]
    assert parts.condition == pytest.approx(values[0] / smallest, rel=1e-6) and parts.condition > 1
    assert parts.directions == int((values > 1e-9).sum()) and parts.orthogonality < 1e-9
    assert parts.density == pytest.approx((counts > 0).mean())


@pytest.mark.parametrize(("target", "word"), [(1e-3, "flat"), (0.5, "one key")])
def test_classes_follow_the_entropy(target: float, word: str) -> None:
    layer = explained(replace(SEED, kept="embedding", target=target)).own.layers[0]
    assert layer.focus == word
