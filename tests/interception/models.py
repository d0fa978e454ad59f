"""Tiny models made from configs, with weights large enough that attention is not uniform, and inputs for them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import Tensor, nn

LENGTH = 24
VOCABULARY = 61
SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": VOCABULARY}
DECODER: dict[str, Any] = {
    **SMALL,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
}
DECODER |= {"eos_token_id": None}

MODELS: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: transformers.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=64, vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=None
    ),
    "llama": lambda: transformers.LlamaConfig(**DECODER, num_key_value_heads=2),
    "mistral": lambda: transformers.MistralConfig(**DECODER, num_key_value_heads=2, sliding_window=9),
    "gemma2": lambda: transformers.Gemma2Config(
        **DECODER, num_key_value_heads=2, head_dim=8, sliding_window=10, attn_logit_softcapping=2.0
    ),
    "gpt_oss": lambda: transformers.GptOssConfig(
        **DECODER, num_key_value_heads=2, head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=10
    ),
    "bert": lambda: transformers.BertConfig(**SMALL, intermediate_size=48, max_position_embeddings=64),
    "albert": lambda: transformers.AlbertConfig(
        **{**SMALL, "num_hidden_layers": 3}, embedding_size=16, intermediate_size=48, max_position_embeddings=64
    ),
    "vit": lambda: transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, image_size=20, patch_size=4
    ),
    "bloom": lambda: transformers.BloomConfig(hidden_size=32, n_layer=2, n_head=4, vocab_size=VOCABULARY),
}

CAUSAL = ("gpt2", "llama", "mistral", "gemma2", "gpt_oss")
MET = ("gpt2", "llama", "mistral", "gemma2", "gpt_oss", "bert", "albert", "vit")
EAGER_ALONE = ("gemma2", "gpt_oss")
"""Softcap and learned sinks: transformers has them in its eager attention, not in sdpa."""

SETTINGS = [
    (name, implementation)
    for name in MET
    for implementation in ("sdpa", "eager")
    if not (implementation == "sdpa" and name in EAGER_ALONE)
]


def tiny(name: str, implementation: str = "sdpa", *, sharpness: float = 6.0) -> Any:
    """A model in evaluation mode; the same weights for every attention implementation."""
    config = MODELS[name]()
    known = transformers.AutoModelForCausalLM if name in (*CAUSAL, "bloom") else transformers.AutoModel
    torch.manual_seed(3)
    model: nn.Module = known.from_config(config, attn_implementation=implementation)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(sharpness)
        for parameter_name, parameter in model.named_parameters():
            if parameter_name.endswith("sinks"):
                parameter.normal_()
    return model.eval()


def twin(model: nn.Module, name: str) -> Any:
    """The same weights with the eager attention, which can return its weights."""
    other = tiny(name, "eager")
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    return other.train(model.training)


def inputs_for(name: str, padding: str = "none", *, batch: int = 3, length: int = LENGTH) -> dict[str, Tensor]:
    """Random tokens (pixels for ViT); with padding, the second and third sequence are shorter."""
    generator = torch.Generator().manual_seed(4)
    if name == "vit":
        return {"pixel_values": torch.randn(batch, 3, 20, 20, generator=generator)}
    mask = torch.ones(batch, length, dtype=torch.int64)
    for row, missing in enumerate((0, 5, 11)[:batch]):
        if padding == "left":
            mask[row, :missing] = 0
        elif padding == "right":
            mask[row, length - missing :] = 0
    ids = torch.randint(2, VOCABULARY, (batch, length), generator=generator) * mask
    return {"input_ids": ids, "attention_mask": mask}


def result_of(model: Any, inputs: dict[str, Tensor], **options: Any) -> Any:
    """One forward pass without gradient."""
    with torch.no_grad():
        return model(**inputs, **options)


def tensors_of(output: Any) -> list[Tensor]:
    """Every tensor of a model's output, caches left out."""
    values = output.values() if hasattr(output, "values") else output
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            found.extend(tensors_of(list(value)))
    return found


class NanoAttention(nn.Module):
    """Causal self-attention as small training scripts write it."""

    def __init__(self, width: int = 32, heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        query, key, value = (
            part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.c_attn(x).split(width, dim=2)
        )
        y = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=None, dropout_p=self.dropout if self.training else 0.0, is_causal=True
        )
        return self.c_proj(y.transpose(1, 2).reshape(batch, length, width))


class NanoModel(nn.Module):
    """A decoder of plain modules that no library knows."""

    def __init__(self, layers: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.wte = nn.Embedding(VOCABULARY, 32)
        self.wpe = nn.Embedding(64, 32)
        self.blocks = nn.ModuleList(NanoAttention(dropout=dropout) for _ in range(layers))
        self.head = nn.Linear(32, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class KernelAttention(nn.Module):
    """Linear attention: there is no softmax and nothing that heedful could meet."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = nn.Linear(32, 96)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.projection(x).chunk(3, dim=-1)
        return query @ (key.transpose(1, 2) @ value) / x.shape[1]


class KernelModel(NanoModel):
    """A decoder whose attention cannot be met."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(KernelAttention() for _ in range(2))


def nano(layers: int = 2, dropout: float = 0.0) -> Any:
    """A plain model in evaluation mode."""
    torch.manual_seed(3)
    model: Any = NanoModel(layers, dropout)
    with torch.no_grad():
        for block in model.blocks:
            block.c_attn.weight.mul_(2)
    return model.eval()
