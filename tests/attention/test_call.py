"""One attention call checks itself; its messages name both sides."""

from typing import Any

import pytest
import torch

from heedful.attention.call import AttentionCall
from heedful.attention.visibility import Visibility, bidirectional, causal, masked, padding
from heedful.errors import CallError

Q, K = torch.randn(2, 6, 5, 4), torch.randn(2, 3, 7, 4)


def build(**changes: Any) -> AttentionCall:
    return AttentionCall(**{"query": Q, "key": K, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": Q[0]}, r"query: expected .*\(batch, head, position, dim\), got \(6, 5, 4\) float32"),
        ({"key": K.long()}, r"key: expected a float tensor .* got \(2, 3, 7, 4\) int64"),
        ({"query": Q[:, :, :0]}, r"query: expected at least one of each axis, got \(2, 6, 0, 4\)"),
        ({"key": K[:0]}, r"key: expected at least one of each axis, got \(0, 3, 7, 4\)"),
        ({"query": Q[:1]}, r"same batch and dim, got \(1, 6, 5, 4\) float32 and \(2, 3, 7, 4\) float32"),
        ({"query": Q[..., :3]}, r"same batch and dim, got \(2, 6, 5, 3\) float32 and \(2, 3, 7, 4\) float32"),
        ({"query": Q[:, :4]}, r"the 4 query heads to be a multiple of the 3 key heads"),
        ({"value": K[:, :, :5]}, r"value: expected .* = \(2, 3, 7\) \+ \(any,\), got \(2, 3, 5, 4\) float32"),
        ({"value": K[0]}, r"value: expected .* got \(3, 7, 4\) float32"),
        ({"sink": torch.zeros(3)}, r"sink: expected one logit a head, \(6,\), got \(3,\) float32"),
        ({"bias": torch.zeros(5, 6)}, r"bias: .* = \(2, 6, 5, 7\), got \(5, 6\) float32"),
        ({"bias": torch.zeros(1, 2, 6, 5, 7)}, r"bias: .* = \(2, 6, 5, 7\), got \(1, 2, 6, 5, 7\)"),
        ({"bias": torch.ones(5, 7, dtype=torch.bool)}, r"bias: expected a float tensor, got \(5, 7\) bool"),
        ({"scale": float("inf")}, r"scale: expected a finite number, got inf"),
        (
            {"visibility": masked(torch.ones(5, 6, dtype=torch.bool))},
            r"visibility\.mask: .* = \(2, 6, 5, 7\), got \(1, 1, 5, 6\) bool",
        ),
        ({"visibility": padding(torch.ones(2, 5))}, r"visibility\.keys: expected \(2, 7\), got \(2, 5\)"),
        ({"visibility": padding(torch.ones(2, 7))}, r"visibility\.queries: expected \(2, 5\), got \(2, 7\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_both_sides(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CallError, match=message):
        build(**changes)


def test_sizes() -> None:
    call = build()
    assert (call.batch, call.heads, call.kv_heads, call.n_queries, call.n_keys) == (2, 6, 3, 5, 7)
    assert call.scale == 0.5
    assert build(scale=2.0).scale == 2


@pytest.mark.parametrize("shape", [(5, 7), (1, 7), (6, 1, 1), (2, 1, 5, 7), (1, 6, 5, 1)])
def test_bias_is_brought_to_four_axes(shape: tuple[int, ...]) -> None:
    call = build(bias=torch.zeros(shape))
    assert call.bias is not None and call.bias.dim() == 4
    assert torch.broadcast_shapes(call.bias.shape, (2, 6, 5, 7)) == (2, 6, 5, 7)


@pytest.mark.parametrize(
    ("visibility", "offset"),
    [
        (causal(), 2),
        (causal(offset=0), 0),
        (bidirectional(), None),
        (Visibility(offset=4), 4),
        (masked(torch.ones(5, 7, dtype=torch.bool)), None),
    ],
)
def test_offset_where_lengths_differ(visibility: Visibility, offset: int | None) -> None:
    assert build(visibility=visibility).offset == offset


def test_offset_where_lengths_are_equal() -> None:
    assert build(query=torch.randn(2, 3, 7, 4), visibility=bidirectional()).offset == 0
