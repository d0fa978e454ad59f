"""The published spread of a row, which is a function of the length: its own closed forms, for comparison only."""

import pytest
import torch
from tests.attention.statistics.planted import LENGTHS, nothing_seen, own_key, previous_token, rows_of, uniform

from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense, dense_weights
from heedful.attention.engines.tiled import tiled
from heedful.attention.statistics.row_std_seed import row_std_seed
from heedful.attention.visibility import bidirectional, masked


@pytest.mark.parametrize("length", LENGTHS)
def test_previous_token_rows_shrink_with_the_length(length: int) -> None:
    found = row_std_seed(previous_token(length))[0, 0, 1:]
    # One of N - 1 entries is 1: mean 1/(N-1), mean square 1/(N-1).
    torch.testing.assert_close(found, torch.full((length - 1,), (length - 2) ** 0.5 / (length - 1)))


@pytest.mark.parametrize("length", LENGTHS)
def test_uniform_causal_rows(length: int) -> None:
    n = torch.arange(1, length + 1).double()
    others = length - 1
    expected = ((n - 1) / n**2 / others - ((n - 1) / n / others) ** 2).sqrt()
    found = row_std_seed(uniform(length, exact=True))[0, 0]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(row_std_seed(uniform(length))[0, 0].double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("own_is_seen", "printed"), [(True, 0.0187), (False, 0.0217)])
def test_the_number_that_scripts_print(own_is_seen: bool, printed: float) -> None:
    """Uniform causal attention at N = 64, diagonal dropped, zeros counted, rows averaged; without and with own key."""
    seen = torch.ones(64, 64, dtype=torch.bool).tril(0 if own_is_seen else -1)
    weights = seen / seen.sum(-1, keepdim=True).clamp_min(1)
    off_diagonal = weights[~torch.eye(64, dtype=torch.bool)].view(64, 63).std(dim=-1, correction=0)
    found = row_std_seed(rows_of(torch.ones(64, 64), masked(seen)))[0, 0]
    assert found[0].isnan() != own_is_seen
    torch.testing.assert_close(found.nan_to_num(), off_diagonal, rtol=1e-4, atol=1e-6)
    assert float(off_diagonal.mean()) == pytest.approx(printed, abs=5e-5)


def test_diagonal_rows_have_none() -> None:
    torch.testing.assert_close(row_std_seed(own_key(50)), torch.zeros(1, 1, 50))


def test_random_rows_are_those_of_the_written_matrix() -> None:
    weights = torch.softmax(2 * torch.randn(24, 24), dim=-1)
    off_diagonal = weights[~torch.eye(24, dtype=torch.bool)].view(24, 23)
    found = row_std_seed(rows_of(weights, bidirectional()))[0, 0]
    torch.testing.assert_close(found, off_diagonal.std(dim=-1, correction=0), rtol=1e-4, atol=1e-6)


def test_rows_beside_a_learned_sink_sum_to_less_than_one() -> None:
    """What the sink takes is no entry of the row: the mean of the others is their sum over their number."""
    query, key = torch.randn(2, 1, 3, 12, 4, dtype=torch.float64)
    call = AttentionCall(
        query=2 * query, key=key, visibility=bidirectional(), sink=torch.tensor([5.0, -1.0, 0.5], dtype=torch.float64)
    )
    weights = dense_weights(call)[0]
    assert float(weights.sum(-1).min()) < 0.5
    off_diagonal = weights[:, ~torch.eye(12, dtype=torch.bool)].view(3, 12, 11)
    for engine in (dense, tiled):
        torch.testing.assert_close(row_std_seed(engine(call).rows)[0], off_diagonal.std(dim=-1, correction=0))


def test_undefined_without_keys_or_other_keys() -> None:
    assert row_std_seed(nothing_seen(5)).isnan().all()
    assert row_std_seed(uniform(1)).isnan().all()
