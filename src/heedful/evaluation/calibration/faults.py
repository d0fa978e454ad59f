"""Plant faults in random models and test whether each exact check detects its fault.

Calibrate claim T8 (diversity tracks concentration) on unrelated and on correlated layers, and documents.

Judge attention by the rules of an older validation guide, whose thresholds depend on the sequence length.

Its row_std, mean deviation, share of the maximal entropy, near to far ratio, repetition ratio and query variation are
taken as published: masked zeros counted, one sequence, ``N`` the length of the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from heedful.attention.call import AttentionCall
from heedful.attention.engines.points import block_at
from heedful.evaluation.calibration.fresh import Architecture, tiny_model
from heedful.evaluation.calibration.planted_study import sequences_of, zipf_ids
from heedful.evaluation.calibration.rate import AT_LEAST, AT_MOST, Rate
from heedful.evaluation.evidence import Evidence, LayerEvidence
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


CLAIM = "diversity_tracks_concentration"
DOCUMENTS, LAYERS, FEW_LAYERS, FEW_HEADS = 32, (8, 12, 24, 48), (1, 4), 6
NOISE = {"clear layers": 0.5, "noisy layers": 1.8}
"""Spread of documents about a layer's mean, in units of the spread between layers."""


def correlation_rates(layers: int, noise: str, trials: int, seed: int) -> Iterator[Rate]:
    """Simulate how often the diversity claim passes: for unrelated layers, and for layers whose true means correlate.

    Args:
        layers: Number of layers.
        noise: A name of ``NOISE``.
        trials: Studies.
        seed: Seed.
    """
    random = np.random.default_rng(seed)
    for strength, nominal in ((0.0, 0.05), (0.9, 0.8)):
        messages = [_verdict(layers, NOISE[noise], strength, random) for _ in range(trials)]
        world = f"{layers} {noise}"
        if strength:
            told_right = sum(v is Verdict.PASS for v in messages)
            if layers >= 12 and noise == "clear layers":
                yield Rate(
                    claim=CLAIM,
                    event="PASS where layers go together",
                    world=world,
                    count=told_right,
                    trials=trials,
                    nominal=nominal,
                    promise=AT_LEAST,
                    effect=f"correlation {strength:g}",
                )
        else:
            wrong = sum(v in (Verdict.PASS, Verdict.ABSENT) for v in messages)
            yield Rate(
                claim=CLAIM,
                event="any direction where there is none",
                world=world,
                count=wrong,
                trials=trials,
                nominal=nominal,
            )


def document_rates(layers: int, trials: int, seed: int) -> Iterator[Rate]:
    """Simulate how often the diversity claim passes over documents, as it is judged in models of few layers.

    Args:
        layers: Number of layers, each of six heads whose concentrations go together.
        trials: Studies.
        seed: Seed.
    """
    random = np.random.default_rng(seed)
    world = f"{DOCUMENTS} documents, {layers} layer{'s' if layers > 1 else ''}"
    for strength, event, nominal, promise in (
        (0.0, "any direction where there is none", 0.05, AT_MOST),
        (0.7, "PASS where documents go together", 0.8, AT_LEAST),
    ):
        count = 0
        for _ in range(trials):
            entered = random.standard_normal((DOCUMENTS, layers))
            shared, own = (
                random.standard_normal((DOCUMENTS, layers, 1)),
                random.standard_normal((DOCUMENTS, layers, FEW_HEADS)),
            )
            answer = strength * entered[..., None] + np.sqrt((1 - strength**2) / 2) * (shared + own)
            told = _told(np.exp(0.2 * entered), np.exp(0.5 * answer), random)
            count += told is Verdict.PASS if strength else told in (Verdict.PASS, Verdict.ABSENT)
        yield Rate(
            claim=CLAIM,
            event=event,
            world=world,
            count=count,
            trials=trials,
            nominal=nominal,
            promise=promise,
            effect=f"correlation {strength:g}" if strength else "",
        )


def _verdict(layers: int, noise: float, strength: float, random: np.random.Generator) -> Verdict:
    """The model's verdict; layer means of correlation ``strength``, documents share an effect over layers."""
    x = random.standard_normal(layers)
    y = strength * x + np.sqrt(1 - strength**2) * random.standard_normal(layers)
    shared = random.standard_normal((2, DOCUMENTS, 1))
    own = random.standard_normal((2, DOCUMENTS, layers))
    spread = np.exp(0.2 * (x + noise * (0.5 * shared[0] + own[0])))
    focus = np.exp(0.5 * (y + noise * (0.5 * shared[1] + own[1])))
    return _told(spread, focus[..., None], random)


def _told(spread: np.ndarray, focus: np.ndarray, random: np.random.Generator) -> Verdict:
    """The verdict on ``(document, layer)`` spreads and ``(document, layer, head)`` concentrations."""
    found = [
        LayerEvidence(
            f"layer {k}",
            nn.Identity(),
            k,
            focus.shape[2],
            "",
            {"entering_spread": spread[:, k], "concentration": focus[:, k]},
        )
        for k in range(spread.shape[1])
    ]
    sequences = sequences_of(zipf_ids(DOCUMENTS, 2, torch.Generator().manual_seed(0)))
    study = Study(nn.Identity(), sequences, Settings(preset="quick", resamples=499, seed=int(random.integers(2**31))))
    study.__dict__["observed"] = Evidence(found, {})
    return Verdict(CHECKS[CLAIM].judge(study)[0].verdict)


ROWS_AT_ONCE, QUERIES = 128, 64


def seed_answers(call: AttentionCall, ids: Tensor) -> dict[str, list[bool]]:
    """Return the yes-or-no answers of the older guide for the first sequence of a call, by rule.

    Args:
        call: The call.
        ids: ``(sequence, token)``.

    Returns:
        Rule to one answer a head, or one answer where the guide averages over heads.
    """
    sums = _sums(call, ids[0])
    length = call.n_keys
    spread, deviation = sums["row_std"] / length, sums["mean_dev"] / length
    share = float(sums["entropy"].mean()) / length / math.log(length)
    near, far = float(sums["near"].mean()), float(sums["far"].mean())
    same = float(sums["same"].mean() / sums["same_pairs"]) if float(sums["same_pairs"]) else math.nan
    other = float(sums["other"].mean() / sums["other_pairs"])
    return {
        "row_std: SHARP": (spread > 0.10).tolist(),
        "row_std: UNIFORM": (spread <= 0.05).tolist(),
        "different from uniform": [float(deviation.mean()) > 0.05],
        "entropy: nearly uniform": [share >= 0.8],
        "local bias": [near > 1.1 * far] if length >= 10 else [],
        "repeated tokens attract": [] if math.isnan(same) else [same > 1.2 * other],
        "queries attend differently": [float(sums["variation"].mean()) > 0.05],
    }


def _sums(call: AttentionCall, ids: Tensor) -> dict[str, Tensor]:
    """Sums over the rows of the first sequence, block by block, one a head."""
    heads, length = call.heads, call.n_keys
    first = _first_sequence(call)
    names = ("row_std", "mean_dev", "entropy", "near", "far", "same", "other")
    sums = {name: torch.zeros(heads) for name in names} | {
        "same_pairs": torch.zeros(()),
        "other_pairs": torch.zeros(()),
    }
    kept = []
    step = max(1, length // QUERIES)
    back = torch.arange(length)
    for begin in range(0, length, ROWS_AT_ONCE):
        end = min(begin + ROWS_AT_ONCE, length)
        rows = block_at(first, begin, end)[0]
        query = torch.arange(begin, end)
        distance = query[:, None] - back[None, :]
        own = rows[:, torch.arange(end - begin), query]
        others = ((rows**2).sum(-1) - own**2) / (length - 1) - ((1 - own) / (length - 1)) ** 2
        sums["row_std"] += others.clamp_min(0).sqrt().sum(-1)
        sums["mean_dev"] += ((rows - 1 / length) ** 2).mean(-1).sqrt().sum(-1)
        sums["entropy"] += -torch.xlogy(rows, rows).sum((-1, -2))
        for lag in range(1, 6):
            sums["near"] += (rows * (distance == lag)).sum((-1, -2)) / (length - lag) / 5
            sums["far"] += (rows * (distance == length - lag)).sum((-1, -2)) / lag / 5
        equal = (ids[query][:, None] == ids[None, :]) & (distance > 0)
        unequal = (distance > 0) & ~equal
        sums["same"] += (rows * equal).sum((-1, -2))
        sums["other"] += (rows * unequal).sum((-1, -2))
        sums["same_pairs"] += equal.sum()
        sums["other_pairs"] += unequal.sum()
        kept.append(rows[:, (query % step == 0).nonzero()[:, 0]])
    sampled = torch.cat(kept, dim=1)
    apart = torch.cdist(sampled, sampled)
    pairs = torch.triu(torch.ones(apart.shape[-1], apart.shape[-1]), diagonal=1).bool()
    return sums | {"variation": apart[:, pairs].mean(-1)}


def _first_sequence(call: AttentionCall) -> AttentionCall:
    from dataclasses import replace

    return replace(call, query=call.query[:1], key=call.key[:1])
