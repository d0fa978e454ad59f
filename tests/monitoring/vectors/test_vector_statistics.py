"""Statistics of vectors against closed forms, loops in float64, and simulation; shards merge to the whole."""

import math

import pytest
import torch
from torch import Tensor

from heedful.monitoring.vectors.sums import Sums
from heedful.monitoring.vectors.vector_statistics import vector_statistics, vector_sums
from heedful.monitoring.vectors.vectors import Vectors


def statistics(values: Tensor, real: Tensor | None = None) -> dict[str, Tensor]:
    return vector_statistics(vector_sums(Vectors.of(values, real)))


def pairs_by_loop(values: Tensor) -> float:
    """Mean cosine of all pairs of the rows, one pair at a time."""
    cosines = [
        float(torch.dot(values[i], values[j]) / (values[i].norm() * values[j].norm()))
        for i in range(len(values))
        for j in range(i)
    ]
    return sum(cosines) / len(cosines)


@pytest.fixture
def drawn() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    shifted = torch.randn(6, 3, 48, 16, generator=generator)
    shifted[:, 1] += torch.tensor([2.0, *[0.0] * 15])
    shifted[:, 2] *= torch.linspace(0.2, 2, 16)
    return shifted


def test_one_component_and_equal_components() -> None:
    values = torch.zeros(1, 2, 50, 8)
    values[:, 0, :, 3] = -2.0
    values[:, 1] = 0.5
    found = statistics(values)
    assert found["largest_share"].tolist() == pytest.approx([1.0, 1 / 8])
    assert found["participation"].tolist() == pytest.approx([1.0, 8.0])
    assert found["largest_mean"].tolist() == pytest.approx([2.0, 0.5])
    assert found["norm_mean"].tolist() == pytest.approx([2.0, math.sqrt(2)])
    assert found["global_max"].tolist() == pytest.approx([2.0, 0.5])
    assert found["cosine"].tolist() == pytest.approx([1.0, 1.0])
    assert found["centred_cosine"].isnan().all() and found["effective_rank"].isnan().all()


@pytest.mark.parametrize("dim", [64, 128])
def test_null_of_participation_is_what_gaussian_directions_have(dim: int) -> None:
    found = statistics(torch.randn(8, 1, 500, dim, generator=torch.Generator().manual_seed(dim)))
    null = float(found["participation_null"])
    assert null == (dim + 2) / 3
    assert float(found["participation"]) == pytest.approx(null, rel=0.05)
    assert float(found["participation"]) < dim / 2


def test_norms_against_torch(drawn: Tensor) -> None:
    found = statistics(drawn)
    norms = drawn.double().norm(dim=-1).transpose(0, 1).flatten(1)
    assert found["norm_mean"] == pytest.approx(norms.mean(1), rel=1e-6)
    assert found["norm_sd"] == pytest.approx(norms.std(1), rel=1e-5)
    for name, share in (("norm_q05", 0.05), ("norm_q50", 0.5), ("norm_q95", 0.95)):
        assert found[name] == pytest.approx(norms.quantile(share, dim=1), rel=0.02)


def test_cosines_are_those_of_all_pairs(drawn: Tensor) -> None:
    found = statistics(drawn)
    exact = drawn.double()
    about_mean = exact - exact.mean(2, keepdim=True)
    for name, values in (("cosine", exact), ("centred_cosine", about_mean)):
        by_sequence = torch.tensor([[pairs_by_loop(values[s, h]) for s in range(6)] for h in range(3)])
        assert found[name] == pytest.approx(by_sequence.mean(1), abs=1e-6)
        half = 2.570582 * by_sequence.std(1) / math.sqrt(6)  # Student's t of five degrees of freedom
        assert found[f"{name}_high"] - found[name] == pytest.approx(half, rel=1e-4)
    assert found["pairs"].tolist() == [6 * 48 * 47 / 2] * 3


def test_a_shared_mean_is_raw_redundancy_and_none_about_the_mean(drawn: Tensor) -> None:
    found = statistics(drawn)
    assert float(found["cosine_low"][1]) > 0.1 and abs(float(found["cosine"][0])) < 0.02
    assert found["centred_cosine"][:2] == pytest.approx([-1 / 47] * 2, abs=2e-3)


def test_effective_rank_is_that_of_the_eigenvalues(drawn: Tensor) -> None:
    exact = drawn.double()
    about_mean = (exact - exact.mean(2, keepdim=True)).transpose(0, 1).flatten(1, 2)
    values = torch.linalg.svdvals(about_mean).square()
    assert statistics(drawn)["effective_rank"] == pytest.approx(
        values.sum(1).square() / values.square().sum(1), rel=1e-5
    )
    line = torch.randn(2, 1, 40, 1) * torch.ones(8) + 3.0
    assert float(statistics(line)["effective_rank"]) == pytest.approx(1.0, rel=1e-4)


def test_interval_of_the_cosine_holds_the_truth_as_often_as_it_says() -> None:
    """Sequences differ in their mean: the unit of the interval is the sequence, of which there are eight."""
    generator, held = torch.Generator().manual_seed(0), 0
    means = 0.7 * torch.randn(300, 8, 16, generator=generator)
    values = means[:, :, None] + torch.randn(300, 8, 48, 16, generator=generator)
    found = statistics(values.transpose(0, 1))
    truth = float(found["cosine"].mean())
    held = int(((found["cosine_low"] <= truth) & (truth <= found["cosine_high"])).sum())
    assert 0.91 <= held / 300 <= 0.98


def test_shards_merge_to_the_whole(drawn: Tensor) -> None:
    drawn[2] *= 3.0
    whole = statistics(drawn)
    first, second = (vector_sums(Vectors.of(part)) for part in (drawn[:2], drawn[2:]))
    merged = vector_statistics(first.merged(second))
    packed = vector_statistics(first.unpacked(first.packed(0, 2) + second.packed(1, 2), 2))
    for name, value in whole.items():
        torch.testing.assert_close(merged[name], value, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(packed[name], merged[name], rtol=0, atol=0)


def test_padding_is_left_out(drawn: Tensor) -> None:
    real = torch.ones(6, 48, dtype=torch.bool)
    real[:, 40:] = False
    padded = drawn.clone()
    padded[:, :, 40:] = 1e4
    whole = statistics(drawn[:, :, :40])
    for name, value in statistics(padded, real).items():
        torch.testing.assert_close(value, whole[name], rtol=1e-5, atol=1e-6)


def test_vectors_that_are_not_finite_are_counted_and_left_out(drawn: Tensor) -> None:
    broken = drawn.clone()
    broken[0, 1, 5, 2] = math.nan
    broken[0, 1, 6, 2] = math.inf
    found = statistics(broken)
    assert found["broken"].tolist() == [0, 2, 0] and found["vectors"].tolist() == [288, 286, 288]
    assert all(found[name].isfinite().all() for name in ("norm_mean", "cosine", "effective_rank", "participation"))


def test_without_vectors_all_is_undefined() -> None:
    found = statistics(torch.randn(2, 1, 40, 4), torch.zeros(2, 40, dtype=torch.bool))
    counts = {"vectors", "broken", "pairs", "participation_null", "global_max"}
    assert {name for name, value in found.items() if not value.isnan().all()} == counts


def test_few_pairs_give_no_cosine() -> None:
    assert statistics(torch.randn(1, 1, 45, 4))["cosine"].isnan().all()
    assert statistics(torch.randn(1, 1, 46, 4))["cosine"].isfinite().all()


def test_a_maximum_is_carried_by_a_sum() -> None:
    shards = [Sums({"a": torch.tensor([float(n)])}, {"m": torch.tensor([n * 2.0, 5.0 - n])}) for n in range(3)]
    total = torch.stack([shard.packed(rank, 3) for rank, shard in enumerate(shards)]).sum(0)
    whole = shards[0].unpacked(total, 3)
    assert whole.added["a"].tolist() == [3.0] and whole.maxima["m"].tolist() == [4.0, 5.0]
