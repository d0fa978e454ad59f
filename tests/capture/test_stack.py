"""Which module runs, what padding the forward was given, and which attention was not met."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.capture.models import inputs_for, nano, result_of, tiny
from torch import Tensor, nn

from heedful.capture.stack import ModuleStack, _padding

MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])


class Takes(nn.Module):
    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return ids


class EncoderDecoder(Takes):
    class config:
        is_encoder_decoder = True


@pytest.mark.parametrize(
    ("args", "kwargs", "found"),
    [
        ((), {"attention_mask": MASK}, True),
        ((MASK, MASK), {}, True),
        ((MASK,), {}, False),
        ((), {"attention_mask": torch.ones(2, 4)}, False),
        ((), {"attention_mask": MASK[:, None, None, :]}, False),
        ((), {"attention_mask": {"full": MASK}}, False),
    ],
)
def test_padding_of_a_forward_however_passed(args: tuple[Any, ...], kwargs: dict[str, Any], found: bool) -> None:
    real = _padding(Takes(), args, kwargs)
    assert real is None if not found else torch.equal(real, MASK.bool())  # type: ignore[arg-type]


def test_padding_of_an_encoder_is_not_that_of_its_decoder() -> None:
    assert _padding(EncoderDecoder(), (), {"attention_mask": MASK}) is None


def test_owner_is_the_innermost_running_module() -> None:
    model = nano()
    owners: list[Any] = []
    stack = ModuleStack(model)
    for block in model.blocks:
        # Registered before heedful's own hooks, so called while the module is still on the stack.
        block.c_proj.register_forward_hook(lambda *_: owners.append(stack.owner()))
    with stack:
        result_of(model, {"ids": torch.arange(9)[None]})
    assert [path for path, _, _ in owners] == ["blocks.0.c_proj", "blocks.1.c_proj"]
    assert owners[0][1] is model.blocks[0].c_proj and owners[0][2].shape == (1, 9, 32)


def test_attention_that_was_never_met_is_named_once() -> None:
    model = tiny("gpt2")
    with ModuleStack(model) as stack:
        result_of(model, inputs_for("gpt2"))
    assert stack.never_met() == {f"transformer.h.{i}.attn": "GPT2Attention" for i in range(2)}


def test_outputs_of_attention_do_not_look_like_attention() -> None:
    model = tiny("bert")
    with ModuleStack(model) as stack:
        result_of(model, inputs_for("bert"))
    assert all(path.endswith(("attention.self", "attention")) for path in stack.never_met())


def test_hooks_do_not_pile_up() -> None:
    model = nano()
    for _ in range(3):
        with ModuleStack(model):
            assert all(len(m._forward_hooks) == 1 for m in model.modules())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())
