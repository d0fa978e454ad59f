"""Section 1 judges promises by the checks of `heedful check`."""

from __future__ import annotations

import pytest
import torch
from tests.contract.architectures import LENGTH, batch_of, made
from tests.contract.planting import own_kernel
from tests.evaluation.checks.pattern_models import PatternModel, judged, nothing
from tests.evaluation.checks.planted import random_ids

from heedful.contract.check import check
from heedful.evaluation.checks.contract_is_kept import contract_is_kept
from heedful.evaluation.checks.future_is_unseen import future_is_unseen
from heedful.inference.verdict import Verdict


def test_a_model_that_keeps_its_promises_passes_as_heedful_check_says() -> None:
    model, ids = made("llama", "sdpa"), batch_of("llama", 4)["input_ids"]
    (found,) = judged(contract_is_kept, model, ids)
    assert found.verdict is Verdict.PASS and found.estimate == 0
    report = check(model, {"input_ids": ids})
    assert set(found.detail["statuses"]) == {one.promise for one in report.judgements}


@pytest.mark.filterwarnings("ignore")
def test_a_scale_and_a_mask_that_are_lost_fail_with_the_first_wrong_pair() -> None:
    model, ids = made("llama", "sdpa"), batch_of("llama", 4)["input_ids"]
    own_kernel(model, "sdpa", lambda module, given: given.update(scaling=1.0))
    (found,) = judged(contract_is_kept, model, ids)
    assert found.verdict is Verdict.FAIL and "scale is broken in layer 0 (model.layers.0.self_attn)" in found.reason
    assert found.detail["breaches"][0]["source"] == "1 / sqrt(16), the width of a head"
    shown = torch.ones(1, 1, LENGTH, LENGTH, dtype=torch.bool)
    own_kernel(model, "sdpa", lambda module, given: given.update(mask=shown))
    (found,) = judged(future_is_unseen, model, ids)
    assert found.verdict is Verdict.FAIL and "model.layers.0.self_attn: sees it with weight" in found.reason


def test_what_nobody_promised_is_no_claim() -> None:
    (found,) = judged(contract_is_kept, PatternModel(nothing), random_ids(1, 32))
    assert found.verdict in (Verdict.SKIP, Verdict.PASS)
