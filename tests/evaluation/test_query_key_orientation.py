"""Claims on content have a null that untrained models of any initialisation do not pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from tests.evaluation import masked_models as masked
from tests.evaluation.checks.pattern_models import PatternModel, own_token, study_of
from tests.evaluation.checks.planted import random_ids, sequences_of
from tests.evaluation.initialisations import INITIALISATIONS
from tests.evaluation.material import tiny_gpt2, tiny_llama
from torch import Tensor, nn

from heedful.evaluation.checks.adjacent_queries_differ import adjacent_queries_differ
from heedful.evaluation.checks.distant_queries_differ import distant_queries_differ
from heedful.evaluation.checks.queries_attend_by_content import queries_attend_by_content
from heedful.evaluation.query_key_orientation import WORDS, covariances, orientation, squared_rotations
from heedful.evaluation.running import evaluating
from heedful.evaluation.study import Study
from heedful.loading.documents import load_documents
from heedful.loading.loaded_model import load_model
from heedful.loading.sequences import make_sequences

CHECKS = (queries_attend_by_content, adjacent_queries_differ, distant_queries_differ)


class Encoder(nn.Module):
    """An untrained nn.TransformerEncoder, as PyTorch makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(input_ids.shape[1])
        return self.encoder(self.embedding(input_ids), mask=mask, is_causal=True)


def verdicts(model: nn.Module, seed: int) -> list[str]:
    study = Study(model, sequences_of(random_ids(16, 24, seed)), study_of(model, random_ids(2, 8)).settings)
    with evaluating(model):
        return [str(check(study)[0].verdict) for check in CHECKS]


def model_of(kind: str, init: str, seed: int) -> nn.Module:
    model = {"gpt2": tiny_gpt2, "llama": tiny_llama, "encoder": Encoder}[kind]()
    torch.manual_seed(seed)
    if kind == "encoder":
        return Encoder().eval()
    fresh = type(model)(model.config)
    INITIALISATIONS[init](fresh)
    return fresh.eval()


KINDS = [*((kind, init) for kind in ("gpt2", "llama") for init in INITIALISATIONS), ("encoder", "PyTorch")]


@pytest.mark.parametrize(("kind", "init"), KINDS)
def test_an_untrained_model_follows_no_content(kind: str, init: str) -> None:
    """Before, PyTorch's own initialisation passed all three claims 40 times of 40."""
    passed = sum("PASS" in verdicts(model_of(kind, init, seed), seed) for seed in range(8))
    # Of 8 at 5 %: more than 3 has a chance of 0.04 %, .5 % for the 13 kinds together. More than 2 would have 7.5 %.
    assert passed <= 3


@pytest.mark.slow
def test_the_size_pooled_over_initialisations_is_that_of_the_test() -> None:
    said = [verdicts(model_of(kind, init, seed), seed) for kind, init in KINDS for seed in range(8, 30)]
    rate = np.mean([[one == "PASS" for one in each] for each in said], axis=0)
    assert (rate <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(said))).all(), rate


@pytest.mark.slow
def test_the_size_holds_behind_windows_and_with_padding() -> None:
    """300 models of three kinds passed 4 % (docs/log/verdicts.md); more than the limit has a chance of 0.1 %."""
    passed: dict[str, list[bool]] = {check.__name__: [] for check in CHECKS}
    for kind in masked.KINDS:
        for init in masked.INITS:
            for seed in range(100, 108):
                model = masked.masked_model(kind, init, seed)
                text = masked.masked_text(kind, seed, documents=32, shortest=18)
                study = Study(model, text, study_of(model, random_ids(2, 8)).settings)
                with evaluating(model):
                    for check in CHECKS:
                        verdict = str(check(study)[0].verdict)
                        if verdict not in ("UNDEFINED", "INSUFFICIENT DATA"):
                            passed[check.__name__].append(verdict == "PASS")
    for name, each in passed.items():
        # A window of 8 keys leaves too few keys for the two claims on distant or adjacent queries.
        assert len(each) >= 120, name
        assert sum(each) <= stats.binom.isf(0.001 / len(CHECKS), len(each), 0.05), name


def test_the_embedded_model_follows_content() -> None:
    loaded = load_model()
    sequences = make_sequences(load_documents(), loaded.tokenizer, seq_len=64, sequences=32)
    study = Study(loaded.model, sequences, study_of(loaded.model, random_ids(2, 8)).settings)
    with evaluating(loaded.model):
        found = [check(study)[0] for check in CHECKS]
    assert [str(one.verdict) for one in found] == ["PASS"] * 3
    assert {one.null for one in found} == {WORDS}
    assert "its queries and keys are aligned" in study.once(queries_attend_by_content)[1].reason


def test_vectors_before_rotation_are_taken_and_unknown_ones_are_told() -> None:
    ids = random_ids(6, 24)
    batches = study_of(tiny_llama(), ids).batches
    with evaluating(model := tiny_llama()):
        found = covariances(model, batches)
    assert len(found.queries) == 2 and not found.reasons
    assert [len(sums) for sums in found.queries.values()] == [4, 4]
    assert [len(sums) for sums in found.keys.values()] == [2, 2]
    layer = model.model.layers[0]
    with torch.no_grad():
        hidden = layer.input_layernorm(model.model.embed_tokens(ids))
        query = layer.self_attn.q_proj(hidden).view(6, 24, 4, 8).transpose(1, 2).double()
    query = query - query.mean(0, keepdim=True)
    query = query - query.mean(2, keepdim=True)
    expected = torch.einsum("bhtd,bhte->hde", query, query)
    torch.testing.assert_close(found.queries["model.layers.0.self_attn"], expected, rtol=1e-4, atol=1e-6)


def test_where_vectors_are_unknown_fresh_models_are_the_null() -> None:
    study = study_of(PatternModel(own_token), random_ids(24, 64))
    found = queries_attend_by_content(study)[0]
    assert found.verdict == "WARN" and found.null.startswith("not available: layers.0: whether positions turn")
    fresh = study_of(PatternModel(own_token), random_ids(24, 64), null_models=19)
    assert queries_attend_by_content(fresh)[0].null == "19 untrained models of the same config"
    asked = study_of(tiny_gpt2(), random_ids(16, 24), null="untrained", null_models=3)
    with evaluating(asked.model):
        assert adjacent_queries_differ(asked)[0].null == "3 untrained models of the same config"


RANDOM = np.random.default_rng(0)


def spectra(kind: str, dim: int) -> np.ndarray:
    return {"flat": np.ones(dim), "steep": 2.0 ** -np.arange(dim), "one": np.eye(dim)[0] + 1e-9}[kind]


def turned(values: np.ndarray) -> np.ndarray:
    turn = np.linalg.qr(RANDOM.standard_normal((len(values), len(values))))[0]
    return (turn * values) @ turn.T


@pytest.mark.parametrize("kind", ["flat", "steep", "one"])
@pytest.mark.parametrize("dim", [8, 32])
def test_random_orientations_are_named_one_time_in_twenty(kind: str, dim: int) -> None:
    trials, heads, alone, any_of = 150, 12, 0, 0
    for _ in range(trials):
        values = spectra(kind, dim) * RANDOM.uniform(0.5, 1.5, dim)
        queries, keys = ([turned(values) for _ in range(heads)] for _ in "qk")
        found = orientation(queries, keys, seed=0)
        alone += int((found.p <= 0.05).sum())
        any_of += bool((found.p_adjusted <= 0.05).any())
    assert alone / (trials * heads) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / (trials * heads))
    assert any_of / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def test_heads_turned_towards_their_keys_are_named_among_many() -> None:
    values = spectra("steep", 32)
    queries = [turned(values) for _ in range(270)]
    keys = [queries[0] + 1e-3 * np.eye(32), *(turned(values) for _ in range(269))]
    found = orientation(queries, keys, seed=0)
    assert found.p_adjusted[0] <= 0.05 and found.score[0] > 5
    assert (found.p_adjusted[1:] <= 0.05).sum() <= 2


def test_what_has_no_orientation_is_undefined() -> None:
    good = turned(spectra("steep", 8))
    found = orientation([good, np.zeros((8, 8)), np.eye(2), good], [good, good, np.eye(2), turned(np.ones(8))], seed=0)
    assert np.isnan(found.p).tolist() == [True, True, True, False]  # equal, none, too few dimensions
    assert np.isnan(orientation([np.zeros((8, 8))], [good], seed=0).p_adjusted).all()


def test_rotations_keep_length() -> None:
    drawn = squared_rotations(6, 50, 1)
    np.testing.assert_allclose(drawn.sum(1), 1.0)
    np.testing.assert_allclose(drawn.sum(2), 1.0)
    assert drawn.mean() == pytest.approx(1 / 6)
