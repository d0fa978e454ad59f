"""Small calls, batches and models that the tests of the study are about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.attention.engines.dense import dense_weights
from heedful.attention.engines.moments import Extras
from heedful.attention.engines.tiled import tiled
from heedful.attention.visibility import Visibility, causal
from heedful.evaluation.evidence import ProbedCall
from heedful.interception.event import AttentionEvent
from heedful.loading.batch import Batch


def batch_of(
    ids: Tensor, mask: Tensor | None = None, special: Tensor | None = None, punctuation: Tensor | None = None
) -> Batch:
    no = torch.zeros_like(ids, dtype=torch.bool)
    return Batch(
        input_ids=ids,
        attention_mask=torch.ones_like(ids) if mask is None else mask,
        index=torch.arange(len(ids)),
        special=no if special is None else special,
        punctuation=no if punctuation is None else punctuation,
    )


def call_of(
    seed: int = 0, batch: int = 2, heads: int = 3, length: int = 24, visibility: Visibility | None = None, **more: Any
) -> AttentionCall:
    """A random call; ``gain`` scales its logits, ``kv_heads`` makes it grouped, anything else is the call's own."""
    generator = torch.Generator().manual_seed(seed)
    gain, kv_heads = more.pop("gain", 1.0), more.pop("kv_heads", heads)
    query = gain * torch.randn(batch, heads, length, 8, generator=generator)
    key, value = (torch.randn(batch, kv_heads, length, 8, generator=generator) for _ in range(2))
    return AttentionCall(query=query, key=key, value=value, visibility=visibility or causal(), **more)


def planted_call(logits: Tensor, visibility: Visibility | None = None) -> AttentionCall:
    """A call whose logits are just these, ``(batch, head, query, key)``."""
    batch, heads, length, _ = logits.shape
    nothing = torch.zeros(batch, heads, length, 2)
    return AttentionCall(query=nothing, key=nothing, value=nothing, bias=logits, visibility=visibility or causal())


def probed_call_of(
    call: AttentionCall,
    batch: Batch | None = None,
    *,
    run: Callable[[Tensor | None], Tensor] | None = None,
    entering: Tensor | None = None,
    extras: Extras | None = None,
) -> ProbedCall:
    """A call as it is met in a model whose kernel is exact, unless another one is given."""

    def exact(value: Tensor | None) -> Tensor:
        given = call.value if value is None else value
        assert given is not None
        values = given.double().repeat_interleave(call.heads // call.kv_heads, dim=1)
        return (dense_weights(call).nan_to_num() @ values).float()

    kernel = run or exact
    event = AttentionEvent(
        path="layer", module=nn.Identity(), way="test", call=call, dropout=0.0, entering=entering, run=kernel
    )
    ids = torch.zeros(call.batch, call.n_keys, dtype=torch.long)
    return ProbedCall(event, kernel(None), batch or batch_of(ids), extras or Extras())


def moments_changed(probed: ProbedCall, **rows: Tensor) -> ProbedCall:
    """The same sight with some row moments as given: a measurement that went wrong."""
    from dataclasses import replace

    moments = tiled(probed.event.call, probed.extras)
    probed.__dict__["moments"] = replace(moments, rows=replace(moments.rows, **rows))
    return probed


def tiny_gpt2(layers: int = 2, **more: Any) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=24, n_embd=32, n_layer=layers, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=1, **more
    )
    return GPT2LMHeadModel(config).eval()


def tiny_llama(**more: Any) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=24,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=1,
        **more,
    )
    return LlamaForCausalLM(config).eval()


def tiny_bert() -> nn.Module:
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=24,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    return BertForMaskedLM(config).eval()
