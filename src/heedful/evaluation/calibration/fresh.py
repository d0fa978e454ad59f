"""Calibrate every check on randomly initialised models, in which nothing is learned and nothing is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from heedful.evaluation.calibration.planted_study import DOCUMENTS, VOCABULARY, sequences_of, zipf_ids
from heedful.evaluation.calibration.rate import Rate
from heedful.evaluation.registry import CHECKS
from heedful.evaluation.result import Finding
from heedful.evaluation.running import evaluating
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict

EXACT = (
    "rows_sum_to_one",
    "future_is_unseen",
    "contract_is_kept",
    "attention_is_finite",
    "entropy_within_bounds",
    "capture_matches_output",
    "gradients_reach_attention",
)
"""Claims without chance: a sound model must never raise an alarm."""

RANKED = (
    "local_bias",
    "previous_token",
    "first_key_sink",
    "same_token_attraction",
    "induction",
    "heads_are_concentrated",
)
"""Claims that are compared with untrained models."""

LEARNED = (
    *RANKED,
    "special_token_mass",
    "punctuation_mass",
    "heads_by_verdict",
    "queries_attend_by_content",
    "adjacent_queries_differ",
    "distant_queries_differ",
    "attention_output_matters",
    "learned_weights_matter",
    "more_than_position_matters",
    "own_text_matters",
    "more_than_local_average_matters",
)
"""Claims that an untrained model must not pass, but for one in twenty."""

SMALL_INIT = ("gpt2", "llama", "bert")
NULL_MODELS, HEADS, WIDTH = 19, 2, 16


@dataclass(frozen=True)
class Architecture:
    """A tiny transformers model with random weights.

    Attributes:
        name: What the table calls it.
        family: ``gpt2``, ``llama`` or ``bert``.
        deviation: Standard deviation of its weights.
        rule: Name of ``INITIALISATIONS``, or "" for transformers' own with that deviation.
    """

    name: str
    family: str
    deviation: float = 0.02
    rule: str = ""


ARCHITECTURES = (
    Architecture("gpt2", "gpt2"),
    Architecture("llama", "llama"),
    Architecture("bert", "bert"),
    Architecture("llama, init .6", "llama", 0.6),
    Architecture("gpt2, PyTorch's init", "gpt2", rule="pytorch"),
    Architecture("llama, muP-like init", "llama", rule="mup"),
    Architecture("gpt2, deep-scaled init", "gpt2", rule="deep"),
)
"""Under initialisations with larger weights margins hold nothing back: the nulls must."""

BY_CONTENT = ("queries_attend_by_content", "adjacent_queries_differ", "distant_queries_differ")
"""Claims that are compared with random orientations."""


def fresh_rates(
    architecture: Architecture, length: int, claims: Sequence[str], trials: int, seed: int
) -> Iterator[Rate]:
    """Simulate the rate of each verdict over random models, each compared with ``NULL_MODELS`` other random models.

    Args:
        architecture: Which models.
        length: Tokens of a document.
        claims: Registry names that are wanted.
        trials: Models.
        seed: Seed of the first.
    """
    nulled = (*RANKED, *BY_CONTENT)
    learned = [claim for claim in LEARNED if architecture.name in SMALL_INIT or claim in nulled]
    wanted = [claim for claim in (*EXACT, *learned) if claim in claims]
    if not wanted:
        return
    found = [_judged(architecture, length, wanted, seed + k) for k in range(trials)]
    for claim in wanted:
        messages = [findings[claim] for findings in found]
        defined = [f for f in messages if f[0].verdict not in (Verdict.SKIP, Verdict.UNDEFINED)]
        if not defined:
            continue
        shared: dict[str, Any] = {"claim": claim, "world": architecture.name, "length": length}
        shared |= {"causal": architecture.family != "bert", "trials": len(defined)}
        if claim in EXACT:
            alarms = sum(f[0].verdict is not Verdict.PASS for f in defined)
            yield Rate(event="alarm on a sound model", count=alarms, nominal=0.0, **shared)
            continue
        passed = sum(f[0].verdict is Verdict.PASS for f in defined)
        yield Rate(event="PASS of an untrained model", count=passed, nominal=0.05, **shared)
        if claim in RANKED:
            named = sum(any(h.p_adjusted is not None and h.p_adjusted <= 0.05 for h in f[1:]) for f in defined)
            yield Rate(event="any head beyond untrained models", count=named, nominal=0.05, **shared)


def _judged(architecture: Architecture, length: int, claims: Sequence[str], seed: int) -> dict[str, list[Finding]]:
    model = tiny_model(architecture, length, seed)
    sequences = sequences_of(zipf_ids(DOCUMENTS, length, torch.Generator().manual_seed(seed)))
    settings = Settings(
        preset="quick",
        null_models=NULL_MODELS,
        null_sequences=2,
        resamples=999,
        seed=seed,
        batch_tokens=max(4096, 2 * length) if length > 256 else DOCUMENTS * length,
    )
    study = Study(model, sequences, settings)
    if architecture.rule:  # the config does not say how its weights were drawn
        study.build = lambda other: tiny_model(architecture, length, 104_729 * (seed + 1) + other)
    study.__dict__["batches"] = study.batches
    with evaluating(model):
        return {claim: list(CHECKS[claim].judge(study)) for claim in claims}


def tiny_model(architecture: Architecture, length: int, seed: int) -> nn.Module:
    """Return a model with one layer, two heads and random weights.

    Args:
        architecture: Which.
        length: Positions that it must reach.
        seed: Seed of its weights.
    """
    shared: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": HEADS,
        "initializer_range": architecture.deviation,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    reach: dict[str, Any] = {"intermediate_size": 2 * WIDTH, "max_position_embeddings": max(64, length)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7_000_003 + seed)  # never the weights of a null model
        model = _built(architecture, length, shared, reach)
        if architecture.rule:
            INITIALISATIONS[architecture.rule](model)
        return model


def _built(architecture: Architecture, length: int, shared: dict[str, Any], reach: dict[str, Any]) -> nn.Module:
    import transformers

    if architecture.family == "gpt2":
        positions = max(64, length)
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(n_positions=positions, **shared)).eval()
    if architecture.family == "bert":
        return transformers.BertForMaskedLM(transformers.BertConfig(**shared, **reach)).eval()
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**shared, **reach)).eval()


def _each_matrix(model: nn.Module, draw: Callable[[str, Tensor, int], object]) -> None:
    """Draw every projection anew: name, module, weight and number of inputs; Conv1D stores its weights (in, out)."""
    with torch.no_grad():
        for name, module in model.named_modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, Tensor) and weight.dim() == 2 and not isinstance(module, nn.Embedding):
                draw(name, weight, weight.shape[0 if type(module).__name__ == "Conv1D" else 1])


def _pytorch(model: nn.Module) -> None:
    """Uniform within one over the root of the inputs, embeddings of variance 1: what nn.Linear and nn.Embedding do."""
    _each_matrix(model, lambda name, weight, inputs: weight.uniform_(-(inputs**-0.5), inputs**-0.5))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_()


def _mup(model: nn.Module) -> None:
    """Hidden matrices of variance 1 over inputs, output of variance 1 over their square, embeddings of variance 1."""
    _each_matrix(model, lambda name, weight, inputs: weight.normal_(0, 1 / inputs if "head" in name else inputs**-0.5))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                module.weight.normal_()


def _deep(model: nn.Module) -> None:
    """Deviation 0.02, projections into the residual stream of a model of 24 layers: 0.02 over the root of 48."""
    outward = ("c_proj", "o_proj", "down_proj")
    _each_matrix(
        model,
        lambda name, weight, inputs: weight.normal_(0, 0.02 * (48**-0.5 if name.endswith(outward) else 1)),
    )


INITIALISATIONS: dict[str, Callable[[nn.Module], None]] = {"pytorch": _pytorch, "mup": _mup, "deep": _deep}
"""Ways in which fresh weights are drawn, beside transformers' own."""
