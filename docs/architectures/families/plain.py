"""PyTorch's own transformers, and other packages' models on top of transformers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from architectures.case import Batch, Case, Runs, seeded
from architectures.families.made import ENCODER, GPT, GROUPED, made
from architectures.inputs import LENGTHS, TARGETS, noise, padded, text


class Stack(nn.Module):
    """Token embeddings before one of torch's own stacks."""

    def __init__(self, norm_first: bool = False, batch_first: bool = True) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            32, 4, 48, dropout=0.0, batch_first=batch_first, norm_first=norm_first, activation="gelu"
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.batch_first = batch_first

    def forward(self, states: Tensor, hidden: Tensor | None = None) -> Tensor:
        """States ``(batch, position, width)``, and where they are padding."""
        if not self.batch_first:
            states = states.transpose(0, 1)
        out: Tensor = self.encoder(states, src_key_padding_mask=hidden)
        return out if self.batch_first else out.transpose(0, 1)


class Both(nn.Module):
    """``nn.Transformer`` with a causal target."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Transformer(32, 4, 2, 2, 48, dropout=0.0, batch_first=True)

    def forward(
        self, states: Tensor, target: Tensor, hidden: Tensor | None = None, target_hidden: Tensor | None = None
    ) -> Tensor:
        """Sources and targets, and where each is padding."""
        later = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).triu(1)
        out: Tensor = self.both(
            states,
            target,
            tgt_mask=later,
            src_key_padding_mask=hidden,
            tgt_key_padding_mask=target_hidden,
            memory_key_padding_mask=hidden,
        )
        return out


def _states(lengths: tuple[int, ...], seed: int) -> list[Tensor]:
    return [noise(length, 32, seed=seed + row) for row, length in enumerate(lengths)]


def _stack_runs(model: nn.Module) -> Runs:
    sequences = _states(LENGTHS, 4)
    values, real = padded(sequences, "right")
    return Runs(
        [Batch({"states": one[None]}) for one in sequences],
        {"right": Batch({"states": values, "hidden": ~real}, (real,))},
    )


def _both_runs(model: nn.Module) -> Runs:
    sources, targets = _states(LENGTHS, 4), _states(TARGETS, 9)
    (source, real), (target, written) = padded(sources, "right"), padded(targets, "right")
    inputs = {"states": source, "target": target, "hidden": ~real, "target_hidden": ~written}
    alone = [Batch({"states": one[None], "target": two[None]}) for one, two in zip(sources, targets, strict=True)]
    return Runs(alone, {"right": Batch(inputs, (real, written))})


PLAIN = {
    "torch TransformerEncoder": (lambda: Stack(), _stack_runs),
    "torch TransformerEncoder (norm first)": (lambda: Stack(norm_first=True), _stack_runs),
    "torch TransformerEncoder (position first)": (lambda: Stack(batch_first=False), _stack_runs),
    "torch Transformer": (lambda: Both(), _both_runs),
}


def _prompted(name: str, keywords: dict[str, Any], cls: str, method: str, **settings: Any) -> Any:
    """A model of transformers inside one of PEFT's."""

    def build(eager: bool) -> nn.Module:
        import peft

        inner = made(name, keywords, cls, eager, 3.0)
        task = "CAUSAL_LM" if cls.endswith(("CausalLM", "LMHeadModel")) else "FEATURE_EXTRACTION"
        torch.manual_seed(6)
        return peft.get_peft_model(inner, getattr(peft, method)(task_type=task, **settings)).eval()

    return build


def _after_prefix(path: str, queries: int, keys: int) -> int | None:
    return keys - queries


VIRTUAL = {"num_virtual_tokens": 5}
PEFT = {
    "PEFT prompt tuning (gpt2)": ("gpt2", GPT, "GPT2LMHeadModel", "PromptTuningConfig", VIRTUAL),
    "PEFT prompt tuning (llama)": ("llama", GROUPED, "LlamaForCausalLM", "PromptTuningConfig", VIRTUAL),
    "PEFT prompt tuning (bert)": ("bert", ENCODER, "AutoModel", "PromptTuningConfig", VIRTUAL),
    "PEFT prefix tuning (gpt2)": ("gpt2", GPT, "GPT2LMHeadModel", "PrefixTuningConfig", VIRTUAL),
    "PEFT prefix tuning (llama)": ("llama", GROUPED, "LlamaForCausalLM", "PrefixTuningConfig", VIRTUAL),
    "PEFT p-tuning (llama)": (
        "llama",
        GROUPED,
        "LlamaForCausalLM",
        "PromptEncoderConfig",
        {**VIRTUAL, "encoder_hidden_size": 16},
    ),
    "PEFT LoRA (llama)": (
        "llama",
        GROUPED,
        "LlamaForCausalLM",
        "LoraConfig",
        {"r": 4, "target_modules": ["q_proj", "v_proj"]},
    ),
    "PEFT IA3 (bert)": (
        "bert",
        ENCODER,
        "AutoModel",
        "IA3Config",
        {"target_modules": ["key", "value"], "feedforward_modules": []},
    ),
}


def _with_virtual(count: int) -> Any:
    """Runs whose rows are ``count`` longer than what was passed."""

    def runs(model: nn.Module) -> Runs:
        found = text("right")(model)
        longer = {}
        for side, batch in found.padded.items():
            real = batch.real[0]
            before = torch.ones(len(real), count, dtype=torch.bool)
            longer[side] = Batch(batch.inputs, (real, torch.cat([before, real], dim=1)))
        return Runs(found.alone, longer)

    return runs


CASES = [
    *(
        Case(name, lambda eager, make=make: seeded(make, 1.5), runs, family="torch")
        for name, (make, runs) in PLAIN.items()
    ),
    *(
        Case(
            name,
            _prompted(model, keywords, cls, method, **settings),
            _with_virtual(5) if "prompt" in name or "p-tuning" in name else text("right"),
            package="peft",
            family="PEFT",
            positions=_after_prefix,
            weights={"output_attentions": True},
        )
        for name, (model, keywords, cls, method, settings) in PEFT.items()
    ),
]
