"""Projections in random directions: a null that untrained models of any initialisation do not pass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from tests.evaluation import masked_models as masked
from tests.evaluation.checks.pattern_models import study_of
from tests.evaluation.checks.planted import random_ids, sequences_of
from tests.evaluation.material import batch_of, tiny_gpt2, tiny_llama
from tests.evaluation.test_query_key_orientation import KINDS, model_of
from torch import Tensor, nn

from heedful.evaluation.evidence import collect
from heedful.evaluation.null_comparison import null_p
from heedful.evaluation.probes import row_statistics
from heedful.evaluation.random_projections import (
    SEQUENCES,
    WORDS,
    NoRandomProjections,
    RandomProjections,
    drawn_weights,
    first_of,
    projected_statistics,
)
from heedful.evaluation.running import evaluating
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
from heedful.loading.documents import load_documents
from heedful.loading.loaded_model import load_model
from heedful.loading.sequences import TokenBatch, make_sequences

NAMES = ("concentration", "sink_mass", "previous_mass", "log_contrast", "same_token", "induction_mass")


def drawn(model: nn.Module, batch: Any, count: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    with evaluating(model):
        layers = collect(model, [batch], [row_statistics]).layers
        return projected_statistics(model, count, layers, [([batch], [row_statistics])], seed)


def named(model: nn.Module, seed: int, text: TokenBatch | None = None) -> dict[str, tuple[float, bool]]:
    """Of each statistic: the share of heads with a p of 5 % or less, and whether any survives all heads."""
    study = Study(model, text or sequences_of(random_ids(8, 24, seed)), Settings(preset="quick", seed=seed))
    found = {}
    with evaluating(model):
        assert set(study.nulls) >= {"concentration", "sink_mass"} and study.null_words == WORDS
        for name in NAMES:
            if name in study.nulls:
                raw, adjusted = null_p(study, study.on_null_subset(name), study.nulls[name])
                found[name] = (float(np.mean(raw <= 0.05)), bool((adjusted <= 0.05).any()))
    return found


@pytest.mark.parametrize(("kind", "init"), [("gpt2", "4 / fan-in"), ("llama", "deep-scaled"), ("encoder", "PyTorch")])
def test_an_untrained_model_is_one_more_draw(kind: str, init: str) -> None:
    found = [named(model_of(kind, init, seed), seed) for seed in range(6)]
    # Of 6 at 5 %: more than 3 has a chance of 0.009 % for each of 18 counts.
    assert all(sum(one[name][1] for one in found) <= 3 for name in NAMES)


@pytest.mark.slow
def test_the_size_pooled_over_initialisations_is_that_of_the_test() -> None:
    found = [named(model_of(kind, init, seed), seed) for kind, init in KINDS for seed in range(100, 120)]
    for name in NAMES:
        single, anyone = (np.mean([one[name][which] for one in found]) for which in (0, 1))
        assert max(single, anyone) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(found)), (name, single, anyone)


@pytest.mark.parametrize("kind", masked.KINDS)
def test_an_untrained_model_behind_a_window_or_with_padding_is_one_more_draw(kind: str) -> None:
    found = [
        named(masked.masked_model(kind, "1 / fan-in", seed), seed, masked.masked_text(kind, seed)) for seed in range(4)
    ]
    # Of 4 at 5 %: more than 2 has a chance of 0.05 % for each of up to 6 counts.
    assert all(sum(one[name][1] for one in found) <= 2 for name in found[0])


@pytest.mark.slow
def test_the_size_behind_windows_and_with_padding_is_that_of_the_test() -> None:
    """Where the size is 5 %, a limit on rejections that all of this test's counts keep with a chance of 99.9 %."""
    seeds, counts = 5, 2 * len(NAMES) * (len(masked.KINDS) + 1)

    def most(models: int) -> int:
        return int(stats.binom.isf(0.001 / counts, models, 0.05))

    every: dict[str, list[bool]] = {name: [] for name in NAMES}
    for kind in masked.KINDS:
        found = [
            named(masked.masked_model(kind, init, seed), seed, masked.masked_text(kind, seed))
            for init in masked.INITS
            for seed in range(seeds)
        ]
        for name in found[0]:
            anyone = [one[name][1] for one in found]
            assert np.sum([one[name][0] for one in found]) <= most(len(found)), (kind, name)
            assert sum(anyone) <= most(len(found)), (kind, name)
            every[name] += anyone
    # All kinds together, where the rate is known best.
    for name, anyone in every.items():
        assert sum(anyone) <= most(len(anyone)), name
    assert np.mean([one for anyone in every.values() for one in anyone]) <= 0.08


def test_trained_heads_are_beyond_it() -> None:
    loaded = load_model()
    sequences = make_sequences(load_documents(), loaded.tokenizer, seq_len=64, sequences=16)
    study = Study(loaded.model, sequences, Settings(preset="quick"))
    with evaluating(loaded.model):
        for name, least in (("concentration", 20), ("previous_mass", 10), ("log_contrast", 12)):
            _, adjusted = null_p(study, study.on_null_subset(name), study.nulls[name])
            assert (adjusted <= 0.05).sum() >= least, name


def test_rows_keep_their_norms_and_values_are_left_alone() -> None:
    model = tiny_llama().eval()
    place = model.model.layers[0].self_attn
    weights = drawn_weights(place, {"q_proj", "k_proj", ""}, torch.Generator().manual_seed(1))
    assert set(weights) == {"q_proj.weight", "k_proj.weight"}
    for name, value in weights.items():
        own = place.get_parameter(name)
        torch.testing.assert_close(value.norm(dim=1), own.norm(dim=1))
        assert not torch.allclose(value, own)
    conv = tiny_gpt2().transformer.h[0].attn
    value = drawn_weights(conv, {"c_attn"}, torch.Generator().manual_seed(1))["c_attn.weight"]
    torch.testing.assert_close(value.norm(dim=0), conv.c_attn.weight.norm(dim=0))  # Conv1D: rows are columns


def test_the_first_layer_is_that_of_a_model_with_these_weights() -> None:
    """Oracle: the weights of one draw put into the model itself."""
    model, batch = tiny_llama().eval(), batch_of(random_ids(3, 20))
    with evaluating(model):
        layers = collect(model, [batch], [row_statistics]).layers
        maker = RandomProjections(model, layers, [0], 5)
        found = maker.run([batch], [row_statistics])["concentration"][0, : layers[0].heads]
        place = model.get_submodule(layers[0].module_path)
        weights = drawn_weights(place, {"q_proj", "k_proj", ""}, maker._generator(0, 0))
        for name, value in weights.items():
            place.get_parameter(name).data.copy_(value)
        again = collect(model, [batch], [row_statistics]).layers[0].values["concentration"].mean(0)
    np.testing.assert_allclose(found, again, rtol=1e-5)


def test_the_model_is_as_before() -> None:
    model, batch = tiny_gpt2().train(), batch_of(random_ids(3, 20))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    one, other = drawn(model, batch), drawn(model, batch)
    assert all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)
    assert model.training and torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())


class Inner(nn.Module):
    """Attention that is given queries, keys and values: its projections lie around it."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)


class Around(nn.Module):
    """A block whose projections lead to an inner attention module, run twice a forward."""

    def __init__(self, split: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(24, 16)
        self.to_q, self.to_k, self.to_v = (nn.Linear(16, 16) for _ in range(3))
        self.attention = Inner()
        self.split = split

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embedding(input_ids)
        heads = [part(x).view(*x.shape[:2], 2, 8).transpose(1, 2) for part in (self.to_q, self.to_k, self.to_v)]
        return self.attention(*heads).transpose(1, 2).flatten(2)


def test_projections_around_the_attention_module_are_found() -> None:
    found = drawn(Around().eval(), batch_of(random_ids(3, 20)), count=3)
    assert found["concentration"].shape == (3, 2) and len(np.unique(found["concentration"])) == 6


class Bare(Around):
    """Keys that no projection gives."""

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.embedding(input_ids)
        query, value = (part(x).view(*x.shape[:2], 2, 8).transpose(1, 2) for part in (self.to_q, self.to_v))
        return self.attention(query, x.view(*x.shape[:2], 2, 8).transpose(1, 2), value).transpose(1, 2).flatten(2)


def test_keys_that_no_projection_gives_are_told_and_fresh_models_take_the_place() -> None:
    model = Bare().eval()
    with pytest.raises(NoRandomProjections, match="the projection of its keys is not known"):
        drawn(model, batch_of(random_ids(3, 20)))
    study = study_of(model, random_ids(4, 32), null_models=2)
    with evaluating(model):
        assert study.nulls["concentration"].shape == (2, 2) and study.null_words.startswith("untrained models")


def test_a_module_that_is_called_several_times_has_draws_for_each_call() -> None:
    import transformers as t

    config = t.AlbertConfig(
        vocab_size=24,
        embedding_size=16,
        hidden_size=32,
        num_attention_heads=2,
        intermediate_size=32,
        num_hidden_layers=3,
    )
    torch.manual_seed(0)
    found = drawn(t.AlbertModel(config).eval(), batch_of(random_ids(3, 20)), count=2)
    assert found["concentration"].shape == (2, 6) and len(np.unique(found["concentration"])) == 12


def test_sequences_are_few_and_the_same_for_both() -> None:
    study = study_of(tiny_gpt2().eval(), random_ids(20, 32), null_models=2, batch_tokens=96)
    with evaluating(study.model):
        assert [len(batch.index) for batch in study.null_subset] == [2] and SEQUENCES == 2
        expected = study.observed.stacked("concentration")[:2].mean(0)
        np.testing.assert_allclose(study.on_null_subset("concentration"), expected)
    assert len(first_of(study.batches[0], 2).input_ids) == 2
