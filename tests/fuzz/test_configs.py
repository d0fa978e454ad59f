"""Some fields of configs of transformers at 10^9; ``make fuzz`` sets all of them."""

from __future__ import annotations

import random

import pytest
import torch
from tests.fuzz.configs import BYTES, HUGE, SECONDS, Case, ask, base, cases
from tests.loading.material import unhurt

from heedful.loading.model_config import plan_model
from heedful.loading.skeleton import build_skeleton

pytestmark = pytest.mark.fault

ENDLESS = (
    ("albert", "inner_group_num"), ("albert", "num_hidden_groups"), ("mobilebert", "num_feedforward_networks"),
    ("gpt2", "n_positions"), ("gpt_neo", "max_position_embeddings"), ("funnel", "block_sizes"), ("swin", "depths"),
    ("gpt_neo", "attention_types"), ("canine", "num_hash_functions"), ("videomae", "num_frames"),
)  # fmt: skip


@pytest.mark.parametrize(("model_type", "name"), ENDLESS)
@pytest.mark.parametrize("listed", [False, True])
def test_counts_that_were_endless_are_answered(model_type: str, name: str, listed: bool) -> None:
    value: object = [HUGE, HUGE] if listed else HUGE
    if name == "attention_types":
        value = [[["global", "local"], HUGE]]

    def planned() -> None:
        skeleton = build_skeleton(plan_model({"model_type": model_type, name: value}, "c"), "c")
        skeleton.ensure_fits(torch.float32, "cpu", "c")

    assert unhurt(planned) in ("loaded", "refused")


@pytest.mark.slow
def test_two_hundred_fields_at_a_billion() -> None:
    drawn = sorted(random.Random(1).sample(list(cases()), 200), key=lambda case: case.model_type)
    known: dict[str, str] = {}
    for case in drawn:
        if case.model_type not in known:
            known[case.model_type] = base(case.model_type)
        outcome = ask(case, known[case.model_type])
        assert outcome.sound(SECONDS, BYTES), (case, outcome)


def test_a_field_that_changes_no_size_changes_nothing() -> None:
    assert ask(Case("gpt2", ("bos_token_id",)), base("gpt2")).value == base("gpt2")
