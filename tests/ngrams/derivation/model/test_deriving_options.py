"""Options of a recipe in the model that runs: rotary order, shifts of positions, orthogonal outputs, calibrations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.ngrams.derivation.model.test_deriving import DOCUMENTS, ROWS, TABLES, TEXT, divergence, weights

from heedful.errors import InputRejected, UsageError
from heedful.ngrams.derivation.affinities import affinity
from heedful.ngrams.derivation.head import position_shift
from heedful.ngrams.derivation.model.derived import sinusoids
from heedful.ngrams.derivation.model.deriving import Derived, derive
from heedful.ngrams.derivation.recipe import RECIPES, DerivationRecipe

PLAIN = DerivationRecipe(
    affinity="normalised", factorisation="plain", width=128, inner=0, calibration="divergence", heads=1, layers=1
)
WIDE = replace(RECIPES["corrected"], width=128, head_dim=18, heads=4, furthest=3, inner=0, value="probability")


def test_rotary_positions_keep_what_is_on_slow_pairs_and_lose_what_is_on_fast_ones() -> None:
    none, uniform = divergence(derive(TABLES, PLAIN, DOCUMENTS, 32), (1, 0))
    found = {
        order: divergence(derive(TABLES, replace(PLAIN, positions="rotary", order=order), DOCUMENTS, 32), (1, 0))[0]
        for order in ("largest_slowest", "largest_fastest")
    }
    assert none < 0.5 * uniform
    assert found["largest_slowest"] < 1.05 * none
    assert found["largest_fastest"] == pytest.approx(uniform, rel=0.05)


def test_taking_the_shift_of_positions_away_loses() -> None:
    placed = replace(PLAIN, positions="sinusoidal", attention_input="none")
    kept, uniform = divergence(derive(TABLES, placed, DOCUMENTS, 32), (1, 0))
    made = derive(TABLES, replace(placed, subtracted="position_shift"), DOCUMENTS, 32)
    assert kept < divergence(made, (1, 0))[0] < 1.01 * uniform
    assert made.heads[0][0].report.singular_values[0] > 5  # the affinity's own is 1
    with pytest.raises(UsageError, match=r"wants positions learned or sinusoidal, which are added .* came rotary"):
        replace(PLAIN, positions="rotary", subtracted="position_shift")


def test_the_shift_of_pairs_scales_their_last_token_by_its_probability() -> None:
    recipe = replace(PLAIN, positions="sinusoidal", query="last_token", shortest=2, longest=2)
    made = derive(TABLES, replace(recipe, subtracted="position_shift"), DOCUMENTS, 32)
    pairs, rows = TABLES[2, 0], np.arange(len(TABLES[2, 0].contexts))
    first, last = pairs.contexts.T
    share = affinity("probability", TABLES[1, 0]).stored[first, last]
    positions = sinusoids(torch.arange(32)[None], 128, torch.float64)[0].numpy()
    contexts, tokens = share[:, None] * made.embedding[last], made.embedding
    matrix = affinity("normalised", pairs).at(rows, np.arange(len(tokens)))
    wanted = np.linalg.norm(matrix - contexts @ position_shift(positions, 2) @ tokens.T, 2)
    assert made.heads[0][0].report.singular_values[0] == pytest.approx(wanted)


def outputs(made: Derived) -> list[np.ndarray]:
    weight, dim = made.model.model.layers[0].attention.o_proj.weight.double().numpy(), made.model.config.head_dim
    return [weight[:, at : at + dim].T for at in range(0, weight.shape[1], dim)]


def test_orthogonal_outputs_in_the_model() -> None:
    shared, apart = derive(TABLES, WIDE, (), 32), derive(TABLES, replace(WIDE, outputs="orthogonal"), (), 32)
    for made, right in ((shared, False), (apart, True)):
        parts = outputs(made)
        scale = max(np.abs(one @ one.T).max() for one in parts)
        worst = max(np.abs(parts[one] @ parts[other].T).max() for one in range(4) for other in range(one)) / scale
        assert (worst < 1e-5) == right
    with pytest.raises(InputRejected, match="heads of skip 3 write only where"):  # 76 characters span 76 directions
        derive(TABLES, replace(WIDE, outputs="orthogonal", head_dim=30), (), 32)
    with pytest.raises(UsageError, match=r"at least 4 skips x head_dim 33 = 132; came 128"):
        replace(WIDE, outputs="orthogonal", head_dim=33)


@pytest.mark.parametrize("value", ["copy", "probability"])
def test_residual_calibration_at_most_doubles_the_stream(value: str) -> None:
    recipe = replace(WIDE, layers=3, inner=16, value=value, kept="embedding")
    growth = {
        calibration: attention_growth(derive(TABLES, replace(recipe, value_calibration=calibration), DOCUMENTS, 32))
        for calibration in ("residual", "raw", "std")
    }
    assert all(0.5 < factor <= 2.0 for factor in growth["residual"])
    assert any(not 0.5 < factor <= 2.0 for factor in growth["raw"] + growth["std"])
    with pytest.raises(UsageError, match="'residual' wants text"):
        derive(TABLES, replace(recipe, value_calibration="residual"))


def attention_growth(made: Derived) -> list[float]:
    """Root mean square of the stream behind each layer's attention over that before it."""
    found: list[float] = []
    for layer in made.model.model.layers:
        streams: dict[str, torch.Tensor] = {}
        hooks = [
            layer.register_forward_pre_hook(lambda module, given, to=streams: to.update(before=given[0])),
            layer.attention.register_forward_hook(lambda module, given, out, to=streams: to.update(added=out[0])),
        ]
        with torch.no_grad():
            made.model(torch.from_numpy(np.stack(DOCUMENTS)))
        for hook in hooks:
            hook.remove()
        before = streams["before"]
        found.append(float((before + streams["added"]).square().mean().sqrt() / before.square().mean().sqrt()))
    return found


def test_matrices_that_are_returned_are_those_of_the_model() -> None:
    recipe = replace(WIDE, layers=2, value_calibration="residual", outputs="orthogonal")
    made = derive(TABLES, recipe, DOCUMENTS, 32)
    for layer, heads in zip(made.model.model.layers, made.heads, strict=True):
        weight = layer.attention.o_proj.weight.double().numpy()
        for number, head in enumerate(heads):
            part = weight[:, number * 18 : number * 18 + len(head.output)]
            np.testing.assert_allclose(part, head.output.T, rtol=1e-4, atol=1e-6)


def test_logits_spread_as_those_of_the_reference() -> None:
    wanted = [[0.5, 2.0, 9.0], [1.0, 0.25, 9.0], [7.0, 7.0, 7.0]]
    recipe = replace(PLAIN, calibration="reference", heads=2, furthest=1, layers=1)
    made = derive(TABLES, recipe, DOCUMENTS, 32, spreads=wanted)
    for head, target in enumerate(wanted[0][:2]):
        logs = [weights(made, tokens)[head].double().log() for tokens in DOCUMENTS]
        spread = np.mean([log[row, : row + 1].std(correction=0).item() for log in logs for row in ROWS])
        assert spread == pytest.approx(target, rel=0.05)
    with pytest.raises(UsageError, match=r"wants 1 layers of 4 heads; it has 3 layers of 3 heads"):
        derive(TABLES, replace(recipe, heads=4), DOCUMENTS, 32, spreads=wanted)
    with pytest.raises(UsageError, match="wants the spread of a reference model's logits; none came"):
        derive(TABLES, recipe, DOCUMENTS, 32)
    with pytest.raises(UsageError, match="wants spreads above 0"):
        derive(TABLES, recipe, DOCUMENTS, 32, spreads=[[0.5, float("nan")]])


def test_the_best_temperature_is_best_on_other_text() -> None:
    """Of all calibrations, each at its published or usual target; on text that no temperature was fitted on."""
    fitted = [TEXT[start : start + 32] for start in range(1_000, 3_000, 32)]
    words = [("divergence", 1.0), ("raw", 1.0), ("std", 0.01), ("std", 0.05), ("logit_sd", 1.0), ("reference", 1.0)]
    losses = []
    for calibration, target in words:
        recipe = replace(PLAIN, calibration=calibration, target=target)
        losses.append(divergence(derive(TABLES, recipe, fitted, 32, spreads=[[0.7]]), (1, 0))[0])
    assert losses[0] < 1.01 * min(losses) and losses[0] < 0.5 * losses[1]
