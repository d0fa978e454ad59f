"""Assertions on the contract: each passes on health, fails on a planted fault, and says where nothing can be said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.contract.architectures import LENGTH, batch_of, made
from tests.contract.planted import FAULTS, planted
from tests.contract.planting import packed, padded

import heedful.testing as testing

CASES: dict[str, tuple[Callable[..., Any], str, Callable[[str], dict[str, Any]], str]] = {
    "contract": (testing.assert_contract, "llama", batch_of, "causal mask lost"),
    "documents": (
        testing.assert_documents_isolated,
        "llama",
        lambda name: packed(name, use_cache=False),
        "packed with a mask of ones",
    ),
    "window": (testing.assert_window, "mistral", batch_of, "window one too wide"),
    "both ways": (testing.assert_attends_both_ways, "bert", batch_of, "encoder still causal"),
    "padding": (testing.assert_padding_unseen, "bert", lambda name: padded(name, "right"), "padding seen"),
    "rotary": (testing.assert_rotary, "llama", batch_of, "another theta"),
    "scale": (testing.assert_scale, "llama", batch_of, "scale squared"),
    "grouping": (testing.assert_grouped_heads, "llama", batch_of, "key heads tiled"),
    "causal": (
        testing.assert_causal,
        "llama",
        lambda name: packed(name, use_cache=False),
        "causal mask lost",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES)
def test_passes_on_health_and_fails_on_a_fault(case: str) -> None:
    claim, name, make, fault_name = CASES[case]
    claim(made(name, "sdpa"), make(name))
    fault = next(one for one in FAULTS if one.name == fault_name)
    with planted(fault, name, "sdpa") as found:
        batch = packed(name, use_cache=False) if case == "causal" else found.batch
        with pytest.raises(AssertionError, match=r"does not hold: .*layer 0"):
            claim(found.model, batch)


@pytest.mark.parametrize(
    ("claim", "name", "told"),
    [
        (testing.assert_documents_isolated, "llama", "neither config nor batch promises it"),
        (testing.assert_padding_unseen, "llama", "neither config nor batch promises it"),
        (testing.assert_rotary, "gpt2", "neither config nor batch promises it"),
        (testing.assert_grouped_heads, "gpt2", "neither config nor batch promises it"),
    ],
)
def test_what_cannot_be_judged_does_not_pass(claim: Callable[..., Any], name: str, told: str) -> None:
    with pytest.raises(AssertionError, match=f"not judged: {told}"):
        claim(made(name, "sdpa"), batch_of(name))


def test_a_window_longer_than_the_text_does_not_pass() -> None:
    with pytest.raises(AssertionError, match="not exercised: the window of 99 is not shorter than the text of 44"):
        testing.assert_window(made("llama", "sdpa"), batch_of("llama"), window=99)


def test_a_decoder_does_not_look_both_ways() -> None:
    with pytest.raises(AssertionError, match="attention is bidirectional: does not hold: direction: layer 0"):
        testing.assert_attends_both_ways(made("llama", "sdpa"), batch_of("llama"))


def test_documents_may_be_given() -> None:
    labels = torch.cat([torch.zeros(9), torch.ones(LENGTH - 9)]).long()[None]
    with pytest.raises(AssertionError, match="query 9, key 0"):
        testing.assert_documents_isolated(made("gpt2", "sdpa"), batch_of("gpt2", 1), documents=labels)


def test_no_attention_is_no_pass() -> None:
    with pytest.raises(AssertionError, match=r"could not be judged: .*no attention call was captured"):
        testing.assert_contract(torch.nn.Embedding(9, 4), {"input": torch.arange(5)[None]})
