"""A budget is kept, by a clock that only the model's own work moves."""

from typing import Any

import pytest
import torch
from tests.evaluation.checks.planted import random_ids, sequences_of
from torch import nn

from heedful.evaluation.budget import FIXED
from heedful.evaluation.nine_sections import validate
from heedful.evaluation.result import Report
from heedful.evaluation.settings import Settings
from heedful.inference.verdict import Verdict

LAYERS = 2


class Worked:
    """Seconds that a model has worked: one for each sequence of a forward, in equal parts of its modules."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.told: list[tuple[float, str]] = []
        self.remaining: list[float] = []

    def __call__(self, done: int, total: int, what: str) -> None:
        """Progress."""

    def time_left(self, seconds: float, words: str) -> None:
        self.told.append((seconds, words))

    def left(self, seconds: float) -> None:
        self.remaining.append(seconds)

    def watch(self, model: nn.Module) -> None:
        def work(module: nn.Module, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
            first = args[0] if args else keywords["hidden_states"]
            self.seconds += len(first) / (2 * LAYERS)

        for name, module in model.named_modules():
            if name.endswith(("self_attn", "mlp")):
                module.register_forward_pre_hook(work, with_kwargs=True)


def judged(budget: float | None, **options: Any) -> tuple[Report, Worked]:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": LAYERS}
    model, clock = LlamaForCausalLM(LlamaConfig(vocab_size=24, max_position_embeddings=64, **shape)), Worked()
    clock.watch(model)
    settings = Settings(resamples=199, budget=budget, **options)
    sequences = sequences_of(random_ids(32, 24))
    return validate(model, sequences, settings=settings, progress=clock, clock=lambda: clock.seconds), clock


@pytest.mark.parametrize("budget", [150.0, 250.0, 400.0])
def test_a_budget_is_kept_and_what_was_left_out_is_listed(budget: float) -> None:
    report, clock = judged(budget, preset="full")
    assert clock.seconds <= 1.25 * budget
    left = [one for one in report.not_measured if "budget" in one["why"]]
    assert left and all(one["what"] in clock.told[0][1] for one in left[:1])
    assert report.settings["budget"] == budget


def test_the_least_budget_keeps_what_is_exact_and_skips_the_rest() -> None:
    report, _ = judged(1.0, preset="standard")
    found = {f.claim: f for s in report.sections for f in s.findings if f.layer is None and f.head is None}
    assert found["rows_sum_to_one"].verdict is Verdict.PASS and found["future_is_unseen"].verdict is Verdict.PASS
    for claim in ("induction", "attention_output_matters", "gradients_reach_attention", "adjacent_queries_differ"):
        assert found[claim].verdict is Verdict.SKIP and "budget" in found[claim].reason
    assert report.data["sequences"] == 16 and any("16 of 32 sequences" in note for note in report.data["notes"])
    assert report.model["name"]


def test_a_large_budget_leaves_nothing_out() -> None:
    report, clock = judged(1e5, preset="quick")
    assert not [one for one in report.not_measured if "budget" in one["why"]]
    plain, other = judged(None, preset="quick")
    assert [f.verdict for s in report.sections for f in s.findings] == [
        f.verdict for s in plain.sections for f in s.findings
    ]
    assert clock.told and other.told, "the time is told beforehand with and without a budget"
    assert clock.remaining == sorted(clock.remaining, reverse=True) and clock.remaining[-1] >= FIXED
