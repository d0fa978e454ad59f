"""What is known of trained models, found by the head table, and stated once more from their eager weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from heedful.evaluation.nine_sections import head_rows
from heedful.evaluation.result import HeadRow
from heedful.evaluation.settings import Settings

pytestmark = pytest.mark.realmodels
Heads = dict[tuple[int, int], HeadRow]


@pytest.fixture(scope="module")
def heads(real: Callable[[str], Any]) -> Callable[[str], Heads]:
    found: dict[str, Heads] = {}

    def of(name: str) -> Heads:
        if name not in found:
            rows = head_rows(real(name).loaded.model, real(name).sequences, settings=Settings(preset="quick"))
            found[name] = {(row.layer, row.head): row for row in rows}
        return found[name]

    return of


def _layer_mean(rows: Heads, layer: int, statistic: str) -> float:
    values = [row.statistics[statistic] for (place, _), row in rows.items() if place == layer]
    return sum(values) / len(values)


def test_smollm2_puts_half_of_its_mass_on_the_first_token(heads: Callable[[str], Heads]) -> None:
    rows = heads("smollm2")
    assert len(rows) == 270
    later = [_layer_mean(rows, layer, "sink_mass") for layer in range(12, 30)]
    assert sum(later) / len(later) > 0.4 and max(_layer_mean(rows, layer, "sink_mass") for layer in (0, 1, 2)) < 0.2
    assert rows[18, 8].statistics["sink_mass"] > 0.99
    assert rows[18, 8].pattern in ("first key", "dormant sink") and rows[18, 8].verdict == "SHARP"


def test_smollm2_rests_on_a_massive_activation_whose_value_is_small(heads: Callable[[str], Heads]) -> None:
    """Sun et al. 2024: a sink's hidden state is many times the median. Guo et al. 2024: many sinks write little."""
    rows = heads("smollm2")
    sinks = [row.statistics for row in rows.values() if row.pattern in ("first key", "dormant sink")]
    assert len(sinks) > 120 and sorted(one["sink_norm_ratio"] for one in sinks)[len(sinks) // 2] > 30
    assert sum(one["weighted_sink_mass"] < one["sink_mass"] for one in sinks) > 0.9 * len(sinks)
    assert sum(row.pattern == "dormant sink" for row in rows.values()) > 20
    assert 10 < max(row.statistics["max_logit"] for row in rows.values()) < 60


def test_smollm2_copies_what_followed_before(heads: Callable[[str], Heads], real: Callable[[str], Any]) -> None:
    """Induction, by heedful's own repeats and by the eager weights on other repeats, of another period."""
    rows = heads("smollm2")
    best = max(rows, key=lambda place: rows[place].statistics["induction_mass"])
    assert rows[best].statistics["induction_mass"] > 0.6 and rows[best].pattern == "induction"
    model, period = real("smollm2").loaded.model, 29
    ids = torch.randint(1000, 40000, (2, period), generator=torch.Generator().manual_seed(1)).repeat(1, 3)
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            weights = model(input_ids=ids, output_attentions=True).attentions[best[0]][:, best[1]]
    finally:
        model.set_attn_implementation("sdpa")
    assert weights.diagonal(offset=1 - period, dim1=-2, dim2=-1).mean() > 0.6


def test_minilm_has_an_exact_previous_token_head(heads: Callable[[str], Heads]) -> None:
    row = heads("minilm")[0, 2]
    assert row.statistics["previous_mass"] > 0.98 and row.statistics["effective_keys"] < 1.1
    assert (row.pattern, row.verdict) == ("previous token", "SHARP")
    assert sum(row.pattern == "previous token" for row in heads("minilm").values()) <= 3


def test_rxnfp_has_a_layer_of_one_hot_rows(heads: Callable[[str], Heads]) -> None:
    rows = heads("rxnfp")
    assert len(rows) == 48
    assert min(rows[4, head].statistics["max_weight"] for head in range(4)) > 0.95
    assert all(rows[4, head].verdict == "SHARP" for head in range(4))
    assert _layer_mean(rows, 0, "effective_keys") > 10 * _layer_mean(rows, 4, "effective_keys")
    assert rows[4, 2].pattern == "previous token"


def test_antiberty_reads_broadly_and_sinks_nowhere(heads: Callable[[str], Heads]) -> None:
    rows = heads("antiberty")
    assert len(rows) == 64
    assert max(row.statistics["sink_mass"] for row in rows.values()) < 0.05
    assert max(rows, key=lambda place: rows[place].statistics["previous_mass"]) == (1, 2)
    assert not any(row.verdict in ("SHARP", "DIFFUSE") for row in rows.values())


def test_anarcii_is_measured_through_multihead_attention(heads: Callable[[str], Heads]) -> None:
    rows = heads("anarcii")
    assert len(rows) == 8 and all(row.module.endswith("multihead_attn") for row in rows.values())
    assert all(row.verdict in ("SHARP", "SELECTIVE", "WEAK") for row in rows.values())
