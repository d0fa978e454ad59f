from __future__ import annotations

import jaxtyping
import numpy as np
import pytest
import torch

import heedful
from heedful.attention.call import AttentionCall
from heedful.attention.given_tensors import tensor_of
from heedful.attention.visibility import Visibility, visibility_of
from heedful.errors import CallError


def test_a_tensor_is_returned_as_it_is_and_none_stays_none() -> None:
    tensor = torch.zeros(2)
    assert tensor_of("a", tensor) is tensor and tensor_of("a", None) is None
    assert torch.equal(tensor_of("a", np.ones((2, 3), dtype=np.float32)[:, ::-1]), torch.ones(2, 3))


@pytest.mark.parametrize("given", ["a", 3, {}, np.array([object()]), [[1], [2, 3]]])
def test_what_is_no_tensor_is_refused(given: object) -> None:
    with pytest.raises(CallError, match="a: expected a tensor"):
        tensor_of("a", given)


def test_words_and_masks_are_rules() -> None:
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    assert visibility_of("causal") == heedful.causal() and visibility_of("bidirectional") == heedful.bidirectional()
    assert visibility_of(heedful.causal(window=2)) == heedful.causal(window=2)
    for given in (mask, mask.numpy(), mask.tolist()):
        assert torch.equal(visibility_of(given).mask, mask[None, None])


@pytest.mark.parametrize("given", ["casual", None, True, 3, heedful.causal, {"causal": True}])
def test_what_is_no_rule_is_refused_with_what_is(given: object) -> None:
    with pytest.raises(CallError, match="expected 'causal', 'bidirectional', a bool tensor"):
        visibility_of(given)


def test_an_additive_mask_is_told_apart_from_a_bool_one() -> None:
    with pytest.raises(CallError, match=r"got torch.float32 \(additive masks of 0 and -inf: mask == 0"):
        visibility_of(torch.zeros(4, 4))


def test_numbers_are_those_of_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = torch.randn(3, 1, 2, 5, 4).unbind(0)
    wanted = heedful.measure(query, key, value)
    mask = np.tril(np.ones((5, 5), dtype=bool))
    for visibility in ("causal", mask, torch.from_numpy(mask)):
        found = heedful.measure(query.numpy(), key.numpy(), value.numpy(), visibility=visibility)
        assert torch.allclose(found.output, wanted.output) and torch.allclose(found.rows.entropy, wanted.rows.entropy)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the annotations name what it makes of them
    call = AttentionCall(query=query.numpy(), key=key.numpy(), visibility="bidirectional")  # type: ignore[arg-type]
    assert isinstance(call.visibility, Visibility) and isinstance(call.query, torch.Tensor)


def test_a_list_of_float64_keeps_its_numbers() -> None:
    assert tensor_of("a", [0.1, 0.2]).dtype == torch.float64
