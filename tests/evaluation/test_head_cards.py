"""Cards of heads: pictures against the definition, keys against dense weights, curves against their means."""

from __future__ import annotations

import base64
import math
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.evaluation.material import call_of, planted_call, probed_call_of, tiny_gpt2

from heedful.attention.engines.binned import binned_map
from heedful.attention.engines.dense import dense_weights
from heedful.attention.visibility import causal
from heedful.evaluation.head_cards import CELLS, KEYS, QUERIES, bins_for, head_cards, pictured, shades
from heedful.evaluation.result import SHADES, Picture
from heedful.evaluation.running import evaluating
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study


def grid_of(picture: Picture) -> np.ndarray:
    raw = zlib.decompress(base64.b64decode(picture.shades))
    return np.frombuffer(raw, dtype=np.uint8).reshape(picture.rows, picture.columns)


def test_uniform_weights_have_one_shade_and_unseen_bins_none() -> None:
    found = shades(binned_map(planted_call(torch.zeros(1, 1, 32, 32)), 256))[0, 0]
    seen = torch.ones(32, 32).tril().bool()
    assert set(found[seen].tolist()) == {1 + round(14 * 4 / (math.log2(32) + 4))}
    assert set(found[~seen].tolist()) == {0}


def test_one_key_takes_the_darkest_shade_and_the_others_the_palest() -> None:
    logits = torch.zeros(1, 1, 32, 32)
    logits[..., 0] = 100.0
    found = shades(binned_map(planted_call(logits), 256))[0, 0]
    assert found[31, 0] == SHADES
    assert set(found[31, 1:].tolist()) == {1}
    assert found[15, 0] == 1 + round(14 * (4 + 4) / (5 + 4))  # sixteen keys seen: sixteen times its uniform share


def test_a_coarse_picture_is_the_mean_of_its_bins() -> None:
    call = call_of(batch=1, heads=2, length=24, gain=3.0)
    weights, seen = dense_weights(call)[0].nan_to_num(), torch.ones(24, 24).tril()
    found = shades(binned_map(call, 6))[0]
    for row, column in ((5, 0), (5, 5), (3, 1)):
        rows, keys = slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4)
        mean = weights[:, rows, keys].sum((-1, -2)) / seen[rows, keys].sum()
        share = mean * seen[rows].sum(-1).mean()
        place = ((share.log2() + 4) / (math.log2(6) + 4)).clamp(0, 1)
        assert found[:, row, column].tolist() == (1 + (14 * place).round()).long().tolist()


def test_weights_that_are_not_finite_have_no_shade() -> None:
    logits = torch.zeros(1, 2, 12, 12)
    logits[:, 0, 6] = math.nan
    found = shades(binned_map(planted_call(logits), 256))[0]
    assert int(found[0, 6].max()) == 0
    assert int(found[1, 6, :7].min()) > 0


def test_the_heaviest_keys_are_those_of_the_dense_weights() -> None:
    call = call_of(batch=1, heads=3, length=24, gain=4.0)
    found = pictured(256)(probed_call_of(call))
    weights = dense_weights(call)
    assert found["query"].shape == (1, QUERIES) and int(found["query"].max()) == 23
    for place, query in enumerate(found["query"][0].tolist()):
        expected, keys = weights[:, :, query].topk(KEYS)
        torch.testing.assert_close(found["weight"][:, :, place].double(), expected.double(), rtol=1e-5, atol=1e-6)
        assert found["key"][:, :, place].tolist() == keys.tolist()
    expected, keys = (weights.sum(-2) / 24).topk(KEYS)
    torch.testing.assert_close(found["received"].double(), expected.double(), rtol=1e-5, atol=1e-6)
    assert found["receiver"].tolist() == keys.tolist()


@pytest.mark.parametrize(("heads", "bins"), [(1, 256), (24, 256), (270, 129), (100_000, 32)])
def test_pictures_shrink_where_heads_are_many(heads: int, bins: int) -> None:
    assert bins_for(heads) == bins
    assert heads * bins**2 <= CELLS or bins == 32


def text(mask: torch.Tensor | None = None) -> SimpleNamespace:
    ids = torch.randint(0, 24, (6, 20), generator=torch.Generator().manual_seed(1))
    no = torch.zeros_like(ids, dtype=torch.bool)
    return SimpleNamespace(
        input_ids=ids,
        attention_mask=torch.ones_like(ids) if mask is None else mask,
        document=torch.tensor([0, 1, 2, 0, 1, 2]),
        document_names=("first", "second", "third"),
        special=no,
        punctuation=no,
        tokens=lambda token: f"<{token}>",
    )


def cards_of(sequences: SimpleNamespace, **settings: int) -> tuple[Study, object]:
    study = Study(tiny_gpt2(), sequences, Settings(preset="quick", null_models=0, **settings))  # type: ignore[arg-type]
    with evaluating(study.model):
        return study, head_cards(study)


def test_a_model_has_a_card_for_every_head() -> None:
    sequences = text()
    study, cards = cards_of(sequences)
    assert [(card.layer, card.head) for card in cards.heads] == [(layer, head) for layer in (0, 1) for head in range(4)]
    assert (cards.document, cards.length) == ("first", 20)
    assert cards.distances == ["0", "1", "2-3", "4-7", "8-15", "16+"]
    mass = study.units(study.observed.layers[1].values["distance_mass"])
    card = cards.heads[5]
    assert [point[0] for point in card.distance] == pytest.approx(mass.mean(axis=0)[1, :6].tolist())
    assert all(math.isnan(low) and math.isnan(high) for _, low, high in card.distance)  # four documents are too few
    assert sum(card.uniform) == pytest.approx(1.0, abs=1e-6)
    grid = grid_of(card.picture)
    assert grid.shape == (20, 20) and (grid[np.triu_indices(20, 1)] == 0).all() and grid[np.tril_indices(20)].all()
    named = {place for one in (card.received, *card.strongest) for place in one.keys}
    assert named <= set(cards.tokens)
    assert all(cards.tokens[place] == f"<{int(sequences.input_ids[0, place])}>" for place in named)
    assert card.untrained == {}


def test_a_document_without_padding_is_pictured() -> None:
    mask = torch.ones(6, 20, dtype=torch.int64)
    mask[0, 12:] = 0
    _, cards = cards_of(text(mask))
    assert (cards.document, cards.length) == ("second", 20)


def test_untrained_models_give_the_range_beside_a_statistic() -> None:
    study = Study(tiny_gpt2(), text(), Settings(preset="quick", null_models=3))  # type: ignore[arg-type]
    with evaluating(study.model):
        cards = head_cards(study)
    low, mean, high = cards.heads[2].untrained["concentration"]
    values = study.nulls["concentration"][:, 2]
    assert (low, mean, high) == pytest.approx((values.min(), values.mean(), values.max()))


def test_a_picture_is_of_the_model_s_own_causal_weights() -> None:
    call = call_of(batch=1, heads=1, length=16, gain=5.0, visibility=causal())
    found = pictured(256)(probed_call_of(call))["shades"][0, 0]
    darkest = [int(found[row].argmax()) for row in range(16)]
    weights = dense_weights(call)[0, 0]
    assert all(found[row, int(weights[row].argmax())] == found[row, darkest[row]] for row in range(16))
