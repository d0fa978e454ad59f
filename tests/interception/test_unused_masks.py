"""Padding masks that a model takes and does not use: believed of their own sequence, where no row left sees padding."""

from __future__ import annotations

from typing import Any

import polars
import pytest
import torch
import torch.nn.functional as F
from tests.interception.models import NanoAttention, NanoModel, nano
from torch import Tensor, nn

import heedful
from heedful.attention.registry import STATISTICS

IDS = torch.randint(2, 61, (2, 24), generator=torch.Generator().manual_seed(4))
RIGHT = torch.ones(2, 24, dtype=torch.int64)
RIGHT[1, 15:] = 0
LEFT = RIGHT.flip(1)


class MaskedAttention(NanoAttention):
    """A mask of its own instead of the kernel's flag: causal, or some keys on either side."""

    ahead = 0

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (p.unflatten(-1, (4, 8)).transpose(1, 2) for p in self.c_attn(x).chunk(3, dim=-1))
        earlier = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril(self.ahead)
        return self.c_proj(F.scaled_dot_product_attention(query, key, value, earlier).transpose(1, 2).flatten(2))


class Taking(NanoModel):
    """Told of padding, which it leaves as it is."""

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return super().forward(ids)


class Around(Taking):
    """Hands tokens of its own on: the mask says nothing of them."""

    def __init__(self) -> None:
        super().__init__(0)
        self.inner = nano()

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.inner(ids.flip(1))


def heads(model: Any, ids: Tensor, mask: Tensor | None = None) -> polars.DataFrame:
    with torch.no_grad(), heedful.capture(model) as session:
        model(ids, attention_mask=mask)
    return session.heads().select(["sequences", "verified", *STATISTICS])


def taking(written: bool) -> Taking:
    torch.manual_seed(3)
    model = Taking()
    if written:
        model.blocks = nn.ModuleList(MaskedAttention() for _ in range(2))
    return model.eval()


def assert_same(found: polars.DataFrame, expected: list[polars.DataFrame], left_out: tuple[str, ...] = ()) -> None:
    assert found["verified"].all()
    for name in set(STATISTICS) - set(left_out):
        mean = torch.tensor([frame[name].to_list() for frame in expected]).mean(0)
        torch.testing.assert_close(torch.tensor(found[name].to_list()), mean, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("written", [False, True], ids=["flag", "mask"])
def test_padding_that_earlier_rows_do_not_see_is_left_out(written: bool) -> None:
    model = taking(written)
    alone = [heads(model, IDS[:1]), heads(model, IDS[1:, :15])]
    assert_same(heads(model, IDS, RIGHT), alone, ("row_std_seed",))


BOTH = LEFT.clone()
BOTH[0, :4] = 0


@pytest.mark.parametrize(
    ("written", "mask"),
    [
        pytest.param(False, LEFT, id="flag"),
        pytest.param(True, LEFT, id="mask"),
        pytest.param(False, BOTH, id="flag, all padded"),
        pytest.param(True, BOTH, id="mask, all padded"),
    ],
)
def test_padding_that_later_rows_see_is_none(written: bool, mask: Tensor) -> None:
    model = taking(written)
    assert_same(heads(model, IDS, mask), [heads(model, IDS)])


@pytest.mark.parametrize("mask", [LEFT, RIGHT, BOTH], ids=["left", "right", "all padded"])
def test_padding_that_tokens_see_is_none(mask: Tensor) -> None:
    """Rows see some keys ahead, so that whichever end is padding, some token sees it."""
    model = taking(True)
    for block in model.blocks:
        block.ahead = 9  # type: ignore[assignment]
    assert_same(heads(model, IDS, mask), [heads(model, IDS)])


def test_a_mask_of_other_tokens_is_none() -> None:
    model = Around().eval()
    assert_same(heads(model, IDS, RIGHT), [heads(model, IDS)])
