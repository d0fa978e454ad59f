"""A model whose attention rows don't sum to one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch


@pytest.fixture
def misnormalised_llama() -> Iterator[torch.nn.Module]:
    """A tiny Llama whose attention kernel gives every row a sum of 1.1."""
    from transformers import AttentionInterface, AttentionMaskInterface, LlamaConfig, LlamaForCausalLM
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def too_much(module: torch.nn.Module, *args: Any, **keywords: Any) -> tuple[torch.Tensor, None]:
        output, _ = sdpa_attention_forward(module, *args, **keywords)
        return output * 1.1, None

    AttentionInterface.register("too_much", too_much)
    AttentionMaskInterface.register("too_much", sdpa_mask)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=24,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config).eval()
    model.set_attn_implementation("too_much")
    try:
        yield model
    finally:
        AttentionInterface._global_mapping.pop("too_much", None)
        AttentionMaskInterface._global_mapping.pop("too_much", None)
