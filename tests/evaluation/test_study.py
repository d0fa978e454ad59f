"""One model and its sequences: units, what is gathered once, and what a model is taken for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.evaluation.checks.pattern_models import PatternModel, near_keys, nothing, own_token, study_of
from tests.evaluation.checks.planted import AttentionOnly, PlantedModel, previous_token_heads, random_ids, sequences_of
from tests.evaluation.material import tiny_bert, tiny_gpt2

from heedful.errors import UsageError
from heedful.evaluation.heads import head_table
from heedful.evaluation.random_projections import SEQUENCES
from heedful.evaluation.running import evaluating
from heedful.evaluation.study import Study
from heedful.loading.sequences import TokenBatch


def text(documents: list[int], length: int = 24) -> TokenBatch:
    sequences = sequences_of(random_ids(len(documents), length))
    return replace(sequences, document=torch.tensor(documents))


def test_the_unit_is_the_document_whatever_its_number_of_sequences() -> None:
    study = study_of(PatternModel(nothing), text([0, 1, 0, 2, 0]))
    values = np.array([1.0, 5.0, 2.0, 7.0, 6.0])
    assert study.units(values).tolist() == [3.0, 5.0, 7.0]
    assert study.first_units(values[:3]).tolist() == [1.5, 5.0]
    assert study.n_documents == 3
    with pytest.raises(ValueError, match="one document label"):
        study.units(values[:3])


def test_documents_that_stand_in_two_pairs_get_twice_the_spread() -> None:
    study = study_of(PatternModel(nothing), text([0, 1, 2]))
    assert study.paired_units(np.array([1.0, 2.0, 6.0])).tolist() == [-1.0, 1.0, 9.0]
    assert np.isnan(study.paired_units(np.full((3, 2), np.nan))).all()


@pytest.mark.parametrize("sequences", [1, 4])
def test_intervals_of_paired_values_cover_the_truth(sequences: int) -> None:
    """Documents of which each adds its own part to two pairs: 95 % of the intervals must hold the mean."""
    from heedful.inference.interval import bootstrap_t

    random, covered = np.random.default_rng(0), 0
    labels = list(np.tile(np.arange(24), sequences))
    study = study_of(PatternModel(nothing), text([int(k) for k in labels], length=9), resamples=299)
    for _ in range(100):
        part = random.normal(size=24)[labels]
        partner = np.roll(part, 1) if sequences == 1 else part[random.permutation(len(labels))]
        interval = bootstrap_t(study.paired_units(part + partner), resamples=299, seed=0)
        covered += bool(interval.low < 0 < interval.high)
    assert covered >= 92


def test_everything_is_gathered_once_and_only_when_asked_for() -> None:
    messages: list[str] = []
    study = study_of(PatternModel(own_token), random_ids(20, 32))
    study.progress = lambda done, total, what: messages.append(what)
    with evaluating(study.model):
        assert study.observed is study.observed
        assert set(messages) == {"measuring attention"}
        assert study.leaks and study.gradients and head_table(study)
        assert head_table(study) is head_table(study)
    assert {"loss", "ablation of the whole model", "shuffled tokens"}.isdisjoint(messages)


def test_ablation_of_layers_and_heads_takes_the_first_sequences() -> None:
    study = study_of(PatternModel(own_token, near_keys), random_ids(20, 32), layer_sequences=4, batch_tokens=96)
    with evaluating(study.model):
        assert [len(batch.index) for batch in study.batches][:3] == [3, 3, 3]
        assert {len(arms["uniform"]) for arms in study.each_layer} == {9}
        assert [[len(values) for values in layer] for layer in study.each_head] == [[9, 9], [9, 9]]
        assert len(study.whole_model["uniform"]) == 16


def test_many_layers_and_heads_are_ranked_on_documents_that_test_nothing() -> None:
    few = {"layer_sequences": 4, "ranked_layers": 1, "ranked_heads": 3, "batch_tokens": 96}
    whole = study_of(PatternModel(own_token, near_keys), random_ids(20, 32), preset="standard", **few)
    with evaluating(whole.model):
        assert [len(arms) for arms in whole.each_layer] in ([5, 1], [1, 5])
        for arms in whole.each_layer:
            assert np.isfinite(arms["uniform"]).tolist() == [False] * 4 + [True] * 4, "the first four rank"
        assert whole.backward_batch.index.tolist() == [0, 1, 2, 3]
    heads = study_of(PatternModel(own_token, near_keys), random_ids(20, 32), preset="full", **few)
    with evaluating(heads.model):
        assert all(len(arms) == 5 for arms in heads.each_layer), "full tries every arm on every layer"
        assert sum(values is not None for layer in heads.each_head for values in layer) == 3


def test_one_sequence_cannot_be_ablated() -> None:
    with pytest.raises(UsageError, match="at least 2 sequences"):
        assert study_of(PatternModel(nothing), random_ids(1, 32)).whole_model


@pytest.mark.parametrize(
    ("study", "meant", "hides"),
    [
        (study_of(PatternModel(nothing), random_ids(4, 16)), True, True),
        (study_of(PatternModel(nothing, causal=False), random_ids(4, 16)), False, False),
        (study_of(PatternModel(nothing, causal=False), random_ids(4, 16), causal=True), True, False),
        (study_of(tiny_gpt2(), random_ids(4, 16)), True, True),
        (study_of(tiny_bert(), random_ids(4, 16)), False, False),
    ],
    ids=["causal", "both ways", "told", "gpt2", "bert"],
)
def test_a_model_is_causal_as_told_by_its_class_or_by_most_of_its_layers(
    study: Study, meant: bool, hides: bool
) -> None:
    assert (study.meant_causal, study.hides_future) == (meant, hides)


def test_a_causal_class_stays_meant_causal_when_it_leaks() -> None:
    model = tiny_gpt2()
    for block in model.transformer.h:
        block.attn.is_causal = False
    study = study_of(model, random_ids(4, 16))
    assert study.meant_causal


def test_null_models_are_compared_on_the_same_sequences() -> None:
    model = AttentionOnly(vocabulary=24)
    study = study_of(model, random_ids(20, 32), null_models=2, null_sequences=3, batch_tokens=64)
    with evaluating(model):
        assert sum(len(batch.index) for batch in study.null_subset) == SEQUENCES
        assert study.nulls["concentration"].shape == (2, 4)
        expected = study.observed.stacked("concentration")[:SEQUENCES].mean(0)
        np.testing.assert_allclose(study.on_null_subset("concentration"), expected)
        assert study.repeats is not None and study.on_repeats is not None
        first = study.on_repeats.stacked("induction_mass")[: len(study.repeats.batches[0].index)]
        np.testing.assert_allclose(study.on_null_subset("induction_mass"), first.mean(0))


def test_why_there_are_no_null_models_is_kept() -> None:
    model = PlantedModel(*previous_token_heads(2, 32))
    assert study_of(model, random_ids(4, 32)).nulls == {}
    model.slopes = torch.nn.Parameter(torch.ones(2))
    study = study_of(model, random_ids(4, 32), null_models=3)
    assert study.nulls == {}
    assert "slopes" in study.null_reason


def test_too_short_for_repeats_is_none_and_undefined() -> None:
    study = study_of(PatternModel(nothing), random_ids(4, 12))
    assert study.on_repeats is None
    assert np.isnan(study.on_null_subset("induction_mass")).all()


def test_leaks_are_sought_on_whole_sequences() -> None:
    sequences = text([0, 1, 2])
    sequences.attention_mask[0, 10:] = 0
    study = study_of(PatternModel(nothing), sequences)
    assert [leak.position for leak in study.leaks][-1] == 23


def test_parameters_that_are_not_finite_are_counted() -> None:
    model = PatternModel(nothing)
    assert study_of(model, random_ids(2, 16)).nonfinite_parameters == {}
    with torch.no_grad():
        model.layers[0].strength[1] = float("nan")
    assert study_of(model, random_ids(2, 16)).nonfinite_parameters == {"layers.0.strength": 1}
