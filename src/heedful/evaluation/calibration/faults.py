"""Plant faults in random models and test whether each exact check detects its fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from heedful.evaluation.calibration.fresh import Architecture, tiny_model
from heedful.evaluation.calibration.planted_study import sequences_of
from heedful.evaluation.calibration.rate import AT_LEAST, Rate
from heedful.evaluation.calibration.world import zipf_ids
from heedful.evaluation.registry import CHECKS
from heedful.evaluation.running import evaluating
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict

LLAMA = Architecture("llama", "llama", 0.2)
NAME = "heedful_calibration"
Kernel = Callable[..., tuple[Tensor, None]]


def _stock(module: nn.Module, *args: Any, **keywords: Any) -> tuple[Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    return sdpa_attention_forward(module, *args, **keywords)  # type: ignore[return-value]


def _too_much(module: nn.Module, *args: Any, **keywords: Any) -> tuple[Tensor, None]:
    output, _ = _stock(module, *args, **keywords)
    return output * 1.001, None


def _leaking(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **keywords: Any
) -> tuple[Tensor, None]:
    output, _ = _stock(module, query, key, value, mask, **keywords)
    ahead = torch.cat([output[:, 1:], output[:, -1:]], dim=1)
    return 0.99 * output + 0.01 * ahead, None


def _squared(module: nn.Module, *args: Any, **keywords: Any) -> tuple[Tensor, None]:
    return _stock(module, *args, **{**keywords, "scaling": keywords["scaling"] ** 2})


def _dead(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **keywords: Any
) -> tuple[Tensor, None]:
    return _stock(module, query.detach(), key, value, mask, **keywords)


FAULTS: dict[str, tuple[str, Kernel]] = {
    "rows_sum_to_one": ("rows sum to 1.001", _too_much),
    "capture_matches_output": ("output off by one part in a thousand", _too_much),
    "future_is_unseen": ("1 % of the next row's output", _leaking),
    "contract_is_kept": ("products scaled twice", _squared),
    "gradients_reach_attention": ("the query detached", _dead),
    "attention_is_finite": ("one parameter NaN", _stock),
    "entropy_within_bounds": ("entropies 0.01 nat too large", _stock),
}
"""Claim to what is broken, and the kernel that breaks it."""


def fault_rates(length: int, claims: Sequence[str], trials: int, seed: int) -> Iterator[Rate]:
    """Simulate how often each exact check detects its planted fault, over random models.

    Args:
        length: Tokens of a document.
        claims: Registry names that are wanted.
        trials: Models.
        seed: Seed of the first.
    """
    for claim, (words, kernel) in FAULTS.items():
        if claim in claims:
            found = sum(_detected(claim, kernel, length, seed + k) for k in range(trials))
            yield Rate(
                claim=claim,
                event="planted fault found",
                world="llama",
                length=length,
                causal=True,
                count=found,
                trials=trials,
                nominal=1.0,
                promise=AT_LEAST,
                effect=words,
            )


def _detected(claim: str, kernel: Kernel, length: int, seed: int) -> bool:
    model = tiny_model(LLAMA, length, seed)
    if claim == "attention_is_finite":
        with torch.no_grad():
            next(p for name, p in model.named_parameters() if "q_proj" in name)[0, 0] = float("nan")
    sequences = sequences_of(zipf_ids(4, length, torch.Generator().manual_seed(seed)))
    study = Study(model, sequences, Settings(preset="quick", null_models=0, resamples=99, seed=seed))
    with _kernel(model, kernel), evaluating(model):
        if claim == "entropy_within_bounds":
            for layer in study.observed.layers:
                _overstate(layer.values, 0.01)
        return CHECKS[claim].judge(study)[0].verdict in (Verdict.FAIL, Verdict.WARN)


def _overstate(values: dict[str, Any], nats: float) -> None:
    """Entropies too large by so much: what a wrong engine would put into the evidence."""
    values["entropy_excess"] = values["entropy_excess"] + nats


@contextmanager
def _kernel(model: Any, kernel: Kernel) -> Iterator[None]:
    """The model on a kernel of its own; the table of kernels is as before afterwards."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, kernel)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    try:
        model.set_attn_implementation(NAME)
        yield
    finally:
        AttentionInterface._global_mapping.pop(NAME, None)  # type: ignore[attr-defined]
        AttentionMaskInterface._global_mapping.pop(NAME, None)  # type: ignore[attr-defined]
