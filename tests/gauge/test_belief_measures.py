"""What a sweep measures of gauge models: divergences against torch's own, spreads, gradients; a run of two steps."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from heedful.errors import UsageError
from heedful.gauge.belief_measures import (
    entropy_deficit,
    least_dimension,
    measured_beliefs,
    needed_ratio,
    sharp_ratio,
    simulated_concentration,
)
from heedful.gauge.model.gauge import GaugeForCausalLM
from heedful.gauge.model.gauge_config import GaugeConfig
from heedful.training.sweeps.folder import SweepFolder
from heedful.training.sweeps.head_measures import explosions
from heedful.training.sweeps.one_run import make_run
from heedful.training.sweeps.plan_file import read_plan
from heedful.training.sweeps.recipe import RunMeasure, read_measured


def model_of(**settings: object) -> GaugeForCausalLM:
    torch.manual_seed(3)
    sizes = {"vocab_size": 400, "max_position_embeddings": 32, "position_means": False, "kappa_rule": "shared"}
    return GaugeForCausalLM(GaugeConfig(**{**sizes, "irreps": "2x0e+1x2e", "kappa": 0.5, **settings})).eval()


def by_name(found: list[RunMeasure]) -> dict[tuple[str, int | None], RunMeasure]:
    return {(one.measure, one.head): one for one in found}


def ids_of(sequences: int, length: int) -> torch.Tensor:
    return torch.randint(0, 400, (sequences, length), generator=torch.Generator().manual_seed(4))


def test_divergences_are_those_of_torch() -> None:
    """Of the first head: two tokens are one pair, the second sees the first."""
    model, ids = model_of(), ids_of(1, 2)
    with torch.no_grad():
        model.model.beliefs.log_variance.weight.normal_()
        beliefs, _ = model.model.beliefs(ids, torch.arange(2)[None])
    first = [
        MultivariateNormal(beliefs.mean[0, token, :1], beliefs.log_variance[0, token, :1].exp()[None])
        for token in (0, 1)
    ]
    found = by_name(measured_beliefs(model, ids))
    expected = float(kl_divergence(first[1], first[0]))
    assert expected > 0.01
    assert found["kl_mean", 0].value == pytest.approx(expected, rel=1e-4)
    assert found["kl_most", 0].value == found["kl_least", 0].value


def test_spread_temperature_and_expectation_of_standard_normal_beliefs() -> None:
    model, ids = model_of(mean_std=2.0), ids_of(16, 32)
    found = by_name(measured_beliefs(model, ids))
    own = float(model.model.beliefs.mean(ids)[..., 0].detach().flatten().var())
    assert found["belief_spread", 0].value == pytest.approx(own, rel=1e-4)
    for head, dim in ((0, 1), (1, 1), (2, 5)):
        spread = found["belief_spread", head].value or 0.0
        assert spread == pytest.approx(4, rel=0.3)
        assert found["kl_mean", head].value == pytest.approx(spread * dim, rel=0.15)
        assert found["kappa", head].value == pytest.approx(0.5)
        assert found["kappa_over_spread", head].value == pytest.approx(0.5 / spread, rel=1e-4)
        assert found["logit_sd", head].value == pytest.approx(2 * spread * math.sqrt(2 * dim), rel=0.3)
    assert [found["kl_sd", head].label for head in range(3)] == ["L0H0 l0", "L0H1 l0", "L0H2 l2"]
    assert found["mean_distance", None].value == pytest.approx(2 * math.sqrt(2 * 7), rel=0.1)
    assert found["frame_spread", None].value == pytest.approx(0.3 / math.sqrt(3), rel=0.15)
    assert found["kl_mean", 0].n == 16


def test_a_frame_of_tokens_changes_no_divergence_of_its_length_and_none_is_none() -> None:
    """Without frames of tokens there is no table, and the weights are those of means as they stand."""
    ids = ids_of(2, 12)
    bare = model_of(token_frames="none")
    assert bare.model.beliefs.frame is None and "frame_spread" not in {
        one.measure for one in measured_beliefs(bare, ids)
    }
    turned = model_of(frame_norm=1.0)
    still = model_of(frame_norm=0.0)
    for model in (turned, still):
        model.model.beliefs.mean.load_state_dict(bare.model.beliefs.mean.state_dict())
    values = [by_name(measured_beliefs(model, ids))["kl_mean", 2].value for model in (bare, still, turned)]
    assert values[0] == pytest.approx(values[1], rel=1e-5) and abs(values[2] / values[0] - 1) > 1e-3


def test_hooks_are_gone() -> None:
    model = model_of()
    measured_beliefs(model, ids_of(1, 4))
    assert not model.model.layers[0].self_attn._forward_pre_hooks


@pytest.mark.parametrize(
    ("norms", "count"),
    [([], 0), ([1.0, 1.1, 9.0], 0), ([1.0, 1.1, 12.0], 1), ([1.0, math.nan, 1.0], 1), ([50.0, 1.0, 1.0], 0)],
)
def test_explosions_are_counted(norms: list[float], count: int) -> None:
    assert explosions(norms) == count


@pytest.mark.slow
def test_a_run_of_the_recipe_measures_beliefs_and_every_gradient(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(
        "recipe: gauge\nfixed: {irreps: 1x0e+1x1e, steps: 3, save_every: 3, batch: 2, length: 16, vocabulary: 270}\n"
        "seeds: [0]\n"
    )
    plan, sweep = read_plan(tmp_path / "plan.yaml"), SweepFolder(tmp_path / "S")
    sweep.adopt(plan)
    assert make_run(plan, plan.runs[0], sweep)
    found = by_name(read_measured(sweep.place(plan.runs[0]).measures)[0])
    assert found["gradient_explosions", None].n == 3 and (found["largest_gradient", None].value or 0) > 0
    assert found["concentration", 1].label == found["kl_mean", 1].label == "L0H1 l1"
    assert found["held_out_loss", None].n and found["step_time", None].value and found["peak_memory", None].value


def simulated(dim: int, ratio: float, keys: int, heads: int = 64) -> tuple[float, float, float]:
    found = simulated_concentration(dim, ratio, keys, torch.Generator().manual_seed(0), heads)
    return found.deficit, found.share, found.largest


@pytest.mark.parametrize(("dim", "ratio"), [(1, 1.74), (1, 0.219), (1, 0.0451), (3, 0.854), (5, 5.0), (5, 1.34)])
def test_theory_agrees_with_simulation_while_keys_are_shared(dim: int, ratio: float) -> None:
    assert entropy_deficit(dim, ratio) == pytest.approx(simulated(dim, ratio, 512, 16)[0], rel=0.05)


def test_temperatures_of_a_published_table() -> None:
    """Effective share .5 and .25 at N = 64 over dimensions; ratios from a study of the same simulation."""
    for dim, half, quarter in [(1, 0.219, 0.0451), (3, 0.854, 0.365), (5, 1.34, 0.649), (19, 3.36, 1.87)]:
        assert simulated(dim, half, 64)[1] == pytest.approx(0.5, abs=0.03)
        assert simulated(dim, quarter, 64)[1] == pytest.approx(0.25, abs=0.03)


def test_near_uniform_half_the_variance_of_the_logits() -> None:
    assert entropy_deficit(7, 1e3) == pytest.approx(0.75 * 7 * 1e-6, rel=0.01)


def test_nats_are_proportional_to_the_dimension() -> None:
    assert entropy_deficit(5, 0.3) == pytest.approx(5 * entropy_deficit(1, 0.3))


@pytest.mark.parametrize("dim", [1, 3, 5])
def test_one_key_is_left_where_the_law_says(dim: int) -> None:
    for keys in (64, 256):
        ratio = sharp_ratio(dim, keys)
        assert entropy_deficit(dim, ratio) == pytest.approx(math.log(keys), rel=0.25)
        crowded, parted = (simulated(dim, ratio * factor ** (2 / dim), keys, 16)[2] for factor in (20, 1 / 20))
        assert crowded < 0.5 < parted


def test_a_line_can_be_sharp() -> None:
    _, _, largest = simulated(1, 1e-7, 64)
    assert largest > 0.95


def test_least_dimension_and_needed_ratio_are_inverse() -> None:
    for dim in (1, 3, 5, 19):
        assert least_dimension(needed_ratio(dim, 0.1), 0.1) == dim
    assert least_dimension(0.43, 0.25) < least_dimension(0.43, 0.1)
    assert entropy_deficit(3, needed_ratio(3, 0.2)) == pytest.approx(math.log(5))


def test_what_makes_no_sense_is_refused() -> None:
    generator = torch.Generator()
    with pytest.raises(UsageError, match="ratio must be above 0; came 0"):
        entropy_deficit(1, 0.0)
    with pytest.raises(UsageError, match=r"between 0 and 1; came 1\.5"):
        least_dimension(0.3, 1.5)
    with pytest.raises(UsageError, match="between 0 and 1; came 0"):
        needed_ratio(3, 0)
    with pytest.raises(UsageError, match="keys must be over 16"):
        simulated_concentration(3, 1.0, 16, generator)
