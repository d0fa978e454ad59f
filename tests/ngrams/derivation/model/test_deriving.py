"""Models with derived attention: what they attend to, what frozen heads are worth, what ties them to embeddings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.ngrams.derivation.texts import characters, counted
from transformers import AutoModelForCausalLM

from heedful.errors import InputRejected, UsageError
from heedful.ngrams.derivation.head import HeadMatrices
from heedful.ngrams.derivation.model.derived import HeedfulDerivedForCausalLM
from heedful.ngrams.derivation.model.derived_config import HeedfulDerivedConfig
from heedful.ngrams.derivation.model.deriving import Derived, derive, orthogonal_outputs
from heedful.ngrams.derivation.recipe import RECIPES, DerivationRecipe
from heedful.ngrams.derivation.row_alignment import expected_rows, row_alignment

TEXT = characters(16_000)
SIZE = int(TEXT.max()) + 1
TABLES = {(n, s): counted(TEXT[:12_000], n, s, SIZE) for n in (1, 2) for s in range(4)}
DOCUMENTS = [TEXT[start : start + 32] for start in range(0, 640, 32)]
ROWS = np.arange(1, 32)
SMALL = replace(RECIPES["seed"], width=128, head_dim=60, layers=2, inner=32)


def weights(made: Derived, tokens: np.ndarray, layer: int = 0) -> torch.Tensor:
    made.model.set_attn_implementation("eager")
    with torch.no_grad():
        return made.model(torch.from_numpy(tokens)[None], output_attentions=True).attentions[layer][0]


def divergence(made: Derived, table: tuple[int, int], layer: int = 0, head: int = 0) -> tuple[float, float]:
    """Of expected from actual attention, and of expected from uniform attention."""
    found = []
    for tokens in DOCUMENTS:
        actual = weights(made, tokens, layer)[head].double().numpy()[1:]
        expected = expected_rows(TABLES[table], tokens, ROWS)
        rows = row_alignment(expected, np.log(np.maximum(actual, 1e-300)), ROWS)
        found.append([np.nanmean(rows.divergence), np.nanmean(rows.uniform_divergence)])
    actual_mean, uniform_mean = np.mean(found, axis=0)
    return float(actual_mean), float(uniform_mean)


def test_the_published_derivation_attends_uniformly_because_its_embeddings_are_not_kept() -> None:
    lost, uniform = divergence(derive(TABLES, SMALL, length=32), (1, 0))
    kept, _ = divergence(derive(TABLES, replace(SMALL, kept="embedding"), length=32), (1, 0))
    assert lost > 0.95 * uniform
    assert kept < 0.9 * uniform


def test_corrected_attention_is_what_counts_predict() -> None:
    made = derive(TABLES, replace(RECIPES["corrected"], width=128, inner=0), length=32)
    found, uniform = divergence(made, (1, 0))
    assert found < 0.01 < 0.5 < uniform


def test_positions_are_not_seen_by_a_joint_encoder() -> None:
    blind = DerivationRecipe(
        width=128, positions="sinusoidal", attention_input="none", encoder="joint_pseudo_inverse", inner=0
    )
    made = derive(TABLES, blind, length=32)
    seeing = derive(TABLES, replace(blind, encoder="pseudo_inverse"), length=32)
    assert divergence(made, (1, 0))[0] < 0.01 < 0.1 < divergence(seeing, (1, 0))[0]


def test_pairs_need_the_token_before() -> None:
    pair = DerivationRecipe(width=128, shortest=2, longest=2, inner=0, calibration="divergence")
    both = divergence(derive(TABLES, pair, DOCUMENTS, 32), (2, 0))[0]
    last = divergence(derive(TABLES, replace(pair, query="last_token"), DOCUMENTS, 32), (2, 0))[0]
    alone = divergence(derive(TABLES, replace(pair, shortest=1, longest=1), DOCUMENTS, 32), (2, 0))[0]
    assert both < alone < last


@pytest.mark.parametrize("calibration", ["logit_sd", "divergence"])
def test_calibration_reaches_its_target(calibration: str) -> None:
    recipe = replace(SMALL, kept="embedding", calibration=calibration, target=1.5, layers=1, positions="none")
    made = derive(TABLES, recipe, DOCUMENTS, 32)
    if calibration == "divergence":
        best, _ = divergence(made, (1, 0))
        for factor in (0.8, 1.25):
            other = derive(TABLES, recipe, DOCUMENTS, 32)
            with torch.no_grad():
                other.model.model.layers[0].attention.q_proj.weight.mul_(factor)
            assert divergence(other, (1, 0))[0] > best
    else:
        logs = [weights(made, tokens)[0].log() for tokens in DOCUMENTS]
        spread = [log[row, : row + 1].std(correction=0).item() for log in logs for row in ROWS]
        assert np.mean(spread) == pytest.approx(1.5, rel=0.05)


def test_heads_with_an_offset_look_exactly_there() -> None:
    made = derive(TABLES, replace(RECIPES["offset"], width=128, inner=0), length=64)
    found = weights(made, TEXT[:64])
    for head in range(4):
        assert found[head].diagonal(-head).min() > 1 - 1e-6


def test_frozen_offset_heads_predict_better_than_frequency() -> None:
    made = derive(TABLES, replace(RECIPES["offset"], width=128, inner=0, final_norm=False, heads=1), length=64)
    held_out = torch.from_numpy(TEXT[12_000 : 12_000 + 64 * 40].reshape(40, 64))
    frequency = torch.from_numpy(np.log(TABLES[1, 0].column_sums + 1))
    stream = made.model.model
    with torch.no_grad():
        taken = stream(held_out).last_hidden_state - stream.embed_tokens(held_out)
        logits = taken.double() @ torch.from_numpy(made.embedding.T) + frequency
    wanted = held_out[:, 1:]
    logs = logits.log_softmax(-1)[:, :-1].gather(-1, wanted[..., None])
    assert -logs.mean() < -frequency.log_softmax(0)[wanted].mean() - 0.3


def test_other_embeddings_are_refused(tmp_path: Path) -> None:
    made = derive(TABLES, replace(RECIPES["corrected"], width=128, inner=8), length=32)
    made.model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(again, HeedfulDerivedForCausalLM)
    assert not again.model.embed_tokens.weight.requires_grad and not again.lm_head.weight.requires_grad
    assert not again.model.layers[0].attention.q_proj.weight.requires_grad and again.model.norm.weight.requires_grad
    tokens = torch.from_numpy(TEXT[:20])[None]
    torch.testing.assert_close(again(tokens).logits, made.model(tokens).logits)
    with torch.no_grad():
        again.model.embed_tokens.weight[3] += 0.01
    with pytest.raises(InputRejected, match=r"fingerprint is .* the attention was derived for"):
        again(tokens)


def test_only_what_is_not_frozen_takes_gradient() -> None:
    made = derive(TABLES, replace(SMALL, kept="embedding"), length=32)
    tokens = torch.from_numpy(TEXT[:20])[None]
    made.model.train()(tokens, labels=tokens).loss.backward()
    took = {name for name, part in made.model.named_parameters() if part.grad is not None and part.grad.any()}
    assert took and not any("attention" in name or "embed_tokens" in name for name in took)
    assert any("feed_forward" in name for name in took) and "model.embed_positions.weight" in took


def test_padding_and_generation() -> None:
    made = derive(TABLES, replace(RECIPES["corrected"], width=128, inner=8, shortest=2, longest=2), length=32)
    tokens = torch.from_numpy(np.stack([TEXT[:12], TEXT[100:112]]))
    padded = torch.cat([torch.zeros(2, 4, dtype=torch.long), tokens], dim=1)
    mask = (torch.arange(16) >= 4).long().expand(2, -1)
    torch.testing.assert_close(made.model(padded, attention_mask=mask).logits[:, 4:], made.model(tokens).logits)
    grown = made.model.generate(tokens, max_new_tokens=3, do_sample=False)
    for end in (12, 13, 14):
        assert grown[:, end].equal(made.model(grown[:, :end]).logits[:, -1].argmax(-1))


def test_deriving_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    first, second = (derive(TABLES, SMALL, length=32, seed=seed) for seed in (0, 0))
    assert torch.get_rng_state().equal(before)
    assert first.model.lm_head.weight.equal(second.model.lm_head.weight)


def test_missing_counts_are_named() -> None:
    with pytest.raises(UsageError, match=r"wants counts of n=1 skip=4; counted were: n=1 skip=0"):
        derive(TABLES, DerivationRecipe(heads=6, furthest=5, width=128))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"positions": "alibi"}, "positions = 'alibi': expected one of none"),
        ({"head_dim": 7}, "head_dim = 7: expected an even number"),
        ({"context": [1]}, "context = .* expected 2 whole numbers"),
        ({"offsets": [[0]]}, "offsets = .* expected 2 layers of 2 heads"),
        ({"offsets": [[0, -1], [0, 0]]}, "whole numbers from 0 on"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0: expected a whole number from 1 on"),
    ],
)
def test_configs_that_do_not_go_together(words: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeedfulDerivedConfig(**words)


WIDTH, RANK = 24, 5


def head(seed: int, shared: np.ndarray | None = None) -> HeadMatrices:
    query, key, value, output = np.random.default_rng(seed).standard_normal((4, WIDTH, RANK))
    output = output.T.copy()
    if shared is not None:
        output[0] = shared
    return HeadMatrices(query, key, value, output)


def test_subspaces_are_at_right_angles_and_the_first_head_is_as_it_was() -> None:
    shared = np.random.default_rng(9).standard_normal(WIDTH)
    before = [[head(1, shared), head(2, shared), head(3)]]
    after = orthogonal_outputs(before, [0, 1, 2])[0]
    for one in range(3):
        for other in range(one):
            assert np.abs(after[one].output @ after[other].output.T).max() < 1e-10
    np.testing.assert_allclose(after[0].output, before[0][0].output, atol=1e-12)
    assert np.linalg.matrix_rank(after[1].output) == RANK - 1  # what it shared with the first is gone


def test_the_effect_of_a_head_is_kept_up_to_projection() -> None:
    before = [[head(1), head(2)]]
    after = orthogonal_outputs(before, [0, 1])[0]
    for old, new in zip(before[0], after, strict=True):
        basis = np.linalg.svd(new.output, full_matrices=False)[2]
        np.testing.assert_allclose(new.value @ new.output, old.value @ old.output @ basis.T @ basis, atol=1e-10)


def test_heads_of_one_skip_share_their_leading_directions_over_layers() -> None:
    layers = [[head(1), head(2)], [head(3), head(4)]]
    after = orthogonal_outputs(layers, [0, 1])
    for skip in (0, 1):
        both = np.concatenate([layer[skip].output for layer in after])
        assert np.linalg.matrix_rank(both) == RANK
    assert np.abs(after[0][0].output @ after[1][1].output.T).max() < 1e-10


def test_nothing_random_where_nothing_is_left() -> None:
    with pytest.raises(InputRejected, match=r"heads of skip 1 write only where .* outputs=shared"):
        orthogonal_outputs([[head(1), head(1)]], [0, 1])
