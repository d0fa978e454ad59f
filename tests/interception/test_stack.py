"""Which module runs, what padding the forward was given, and which attention was not met."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from tests.interception.models import inputs_for, nano, result_of, tiny
from torch import Tensor, nn

from heedful.interception.stack import ModuleStack, handed

MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])


class Takes(nn.Module):
    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return ids


class Bag(NamedTuple):
    ids: Tensor
    attention_mask: Tensor


@pytest.mark.parametrize(
    ("args", "kwargs", "found"),
    [
        ((), {"attention_mask": MASK}, 1),
        ((MASK, MASK), {}, 1),
        (({"input_ids": MASK, "attention_mask": MASK},), {}, 1),
        ((), {"batch": {"inner": Bag(MASK, MASK)}}, 1),
        ((MASK,), {}, 0),
        ((), {"attention_mask": MASK[:, None, None, :]}, 0),
        ((), {"encoder_attention_mask": MASK}, 0),
    ],
)
def test_masks_of_a_forward_however_passed(args: tuple[Any, ...], kwargs: dict[str, Any], found: int) -> None:
    assert len(handed(Takes(), args, kwargs).masks) == found


def test_owner_is_the_innermost_running_module() -> None:
    model = nano()
    owners: list[Any] = []
    stack = ModuleStack(model)
    for block in model.blocks:
        # Registered before heedful's own hooks, so called while the module is still on the stack.
        block.register_forward_hook(lambda *_: owners.append(stack.owner(None, None)))
    with stack:
        result_of(model, {"ids": torch.arange(9)[None]})
    assert [frame.path for frame in owners] == ["blocks.0", "blocks.1"]
    assert owners[0].module is model.blocks[0] and owners[0].entering.shape == (1, 9, 32) and owners[0].entered == 9


def test_attention_that_was_never_met_is_named_once() -> None:
    model = tiny("gpt2")
    with ModuleStack(model) as stack:
        result_of(model, inputs_for("gpt2"))
    assert stack.never_captured() == {f"transformer.h.{i}.attn": "GPT2Attention" for i in range(2)}


def test_outputs_of_attention_do_not_look_like_attention() -> None:
    model = tiny("bert")
    with ModuleStack(model) as stack:
        result_of(model, inputs_for("bert"))
    assert all(path.endswith(("attention.self", "attention")) for path in stack.never_captured())


def test_hooks_do_not_pile_up() -> None:
    model = nano()
    for _ in range(3):
        with ModuleStack(model):
            assert all(len(m._forward_hooks) == 1 for m in (model, *model.blocks))
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
