"""The whole validation: what a report holds, and what it leaves as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.evaluation.checks.pattern_models import PatternModel, induction_keys, nothing, own_token
from tests.evaluation.checks.planted import AttentionOnly, random_ids, sequences_of
from torch import nn

import heedful.evaluation.nine_sections as nine_sections
from heedful.errors import CaptureError
from heedful.evaluation.nine_sections import head_rows, validate
from heedful.evaluation.registry import CHECKS, SECTION_TITLES
from heedful.evaluation.result import Finding, Report
from heedful.evaluation.settings import Settings
from heedful.inference.verdict import Verdict
from heedful.loading.documents import Documents, load_documents
from heedful.loading.loaded_model import load_model
from heedful.loading.sequences import TokenBatch, make_sequences

QUICK = Settings(preset="quick", null_models=2, resamples=199)


def tiny_llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

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
    return LlamaForCausalLM(config)


def run(model: nn.Module, count: int = 18, length: int = 32, **options: Any) -> Report:
    settings = replace(QUICK, **options)
    return validate(model, sequences_of(random_ids(count, length)), settings=settings, name="mine", notes=("a note",))


def claims(report: Report) -> dict[str, Finding]:
    """The model's finding of each claim."""
    return {f.claim: f for s in report.sections for f in s.findings if f.layer is None and f.head is None}


@pytest.fixture(scope="module")
def report() -> Report:
    return run(AttentionOnly(vocabulary=24), preset="full", layer_sequences=4, null_models=1)


def test_a_report_has_nine_sections_and_every_claim_once(report: Report) -> None:
    assert [(s.number, s.title) for s in report.sections] == list(SECTION_TITLES.items())
    assert set(claims(report)) == set(CHECKS)
    assert [f.claim for s in report.sections for f in s.findings if f.layer is None and f.head is None] == list(
        nine_sections.ORDER
    )


def test_a_report_says_what_was_validated_on_what_and_how(report: Report) -> None:
    assert report.model == {
        "name": "mine",
        "class": "AttentionOnly",
        "architecture": "plain module",
        "attention": "scaled_dot_product_attention",
        "parameters": sum(p.numel() for p in AttentionOnly(vocabulary=24).parameters()),
        "layers": 2,
        "heads": 4,
        "dtype": "float32",
        "device": "cpu",
        "causal": True,
        "notes": ["a note"],
    }
    assert {"documents": 18, "sequences": 18, "sequence_length": 32, "tokens": 576}.items() <= report.data.items()
    assert (report.data["objective"], report.data["fingerprint"]) == ("next token", "planted")
    assert (report.settings["preset"], report.settings["null_models"], report.settings["seed"]) == ("full", 1, 0)
    assert report.settings["margins"]["content"] == 0.01
    assert {"python", "torch", "heedful"} <= set(report.versions)
    assert {"seconds", "started"} == set(report.run)
    assert [(row.layer, row.head) for row in report.heads] == [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize(
    ("preset", "layers", "heads", "missing"),
    [("quick", 0, 0, "ablation of each layer"), ("standard", 2, 0, "ablation of each head"), ("full", 2, 4, "")],
)
def test_each_preset_holds_the_one_before_and_names_what_it_left_out(
    preset: str, layers: int, heads: int, missing: str
) -> None:
    found = run(AttentionOnly(vocabulary=24), preset=preset, layer_sequences=4, null_models=1)
    ablated = [f for f in found.sections[8].findings if f.claim == "learned_weights_matter"]
    assert sum(f.layer is not None and f.head is None for f in ablated) == layers
    assert sum(f.head is not None for f in ablated) == heads
    assert missing in " ".join(entry["what"] for entry in found.not_measured)
    assert {entry["why"] for entry in found.not_measured if entry["what"] == missing} <= {
        "part of preset standard",
        "part of preset full",
    }


def test_checks_of_a_larger_preset_are_skipped_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = replace(CHECKS["induction"], preset="full")
    monkeypatch.setitem(CHECKS, "induction", facts)
    found = claims(run(PatternModel(nothing), null_models=0))["induction"]
    assert found.verdict is Verdict.SKIP
    assert found.reason == "part of preset full, and quick was asked for"


def test_what_was_not_measured_is_listed() -> None:
    model = PatternModel(nothing, causal=False)
    sequences = sequences_of(random_ids(18, 32))
    sequences.attention_mask[3, 20:] = 0
    found = {
        e["what"]: e["why"] for e in validate(model, sequences, settings=replace(QUICK, null_models=0)).not_measured
    }
    assert found["comparison with heads that have learned nothing"] == "no null comparison was requested"
    assert "no mask token" in found["loss, gradients and ablation"]
    assert found["24 (head, query) rows"].startswith("padding or masks")


def test_parameters_that_are_not_finite_end_the_validation_early() -> None:
    model = PatternModel(own_token)
    with torch.no_grad():
        model.layers[0].strength[0] = float("nan")
    found = run(model)
    assert found.verdict is Verdict.FAIL
    assert {f.verdict for name, f in claims(found).items() if name != "attention_is_finite"} == {Verdict.SKIP}
    assert found.heads == [] and found.model["layers"] == 0
    assert "Attention is not computed correctly" in found.summary["conclusion"]


@pytest.mark.parametrize(
    ("model", "required", "before"),
    [
        (PatternModel(nothing), "queries_attend_by_content", "ABSENT"),
        (PatternModel(own_token), "special_token_mass", "SKIP"),
        (PatternModel(own_token), "heads_are_concentrated", "WARN"),
    ],
)
def test_a_required_claim_that_is_not_shown_fails_and_says_what_it_was(
    model: nn.Module, required: str, before: str
) -> None:
    found = run(model, require=(required,), null_models=0)
    assert found.verdict is Verdict.FAIL
    assert claims(found)[required].reason.startswith(f"required, and not shown ({before}): ")
    assert claims(found)[required].detail["without_require"] == before
    assert required in found.summary["failed"]


def test_a_required_claim_that_passes_stays_as_it_is() -> None:
    found = run(PatternModel(own_token), require=("queries_attend_by_content",), null_models=19)
    assert claims(found)["queries_attend_by_content"].verdict is Verdict.PASS
    assert found.verdict is not Verdict.FAIL


def test_one_sequence_is_a_report_and_not_an_error() -> None:
    found = run(PatternModel(own_token), count=1, null_models=0)
    verdicts = {name: str(f.verdict) for name, f in claims(found).items()}
    assert verdicts["learned_weights_matter"] == verdicts["ablation_signature"] == "SKIP"
    assert verdicts["local_bias"] == "INSUFFICIENT DATA"
    assert found.verdict is Verdict.WARN


def test_more_sequences_than_repeats_and_shared_documents_are_a_report_as_well() -> None:
    sequences = sequences_of(random_ids(70, 20))
    sequences = replace(sequences, document=torch.arange(70) % 17)
    found = validate(PatternModel(induction_keys), sequences, settings=replace(QUICK, null_models=0))
    assert claims(found)["induction"].n == 16
    assert claims(found)["local_bias"].n == 17


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(CaptureError):
        run(nn.Sequential(nn.Embedding(24, 24)))


def plain(report: Report) -> str:
    return repr(replace(report, run={}))


def test_the_same_seed_gives_the_same_report_whatever_else_is_random() -> None:
    torch.manual_seed(1)
    one = run(AttentionOnly(vocabulary=24))
    torch.manual_seed(1)
    model = AttentionOnly(vocabulary=24)
    torch.manual_seed(99)
    torch.rand(5)
    two = run(model)
    assert plain(one) == plain(two)
    three = run(model, seed=1)
    assert claims(three)["same_token_attraction"].interval != claims(one)["same_token_attraction"].interval


def test_progress_is_told_from_nothing_to_all() -> None:
    messages: dict[str, list[tuple[int, int]]] = {}
    validate(
        AttentionOnly(vocabulary=24),
        sequences_of(random_ids(18, 32)),
        settings=QUICK,
        progress=lambda done, total, what: messages.setdefault(what, []).append((done, total)),
    )
    assert {"measuring attention", "random projections", "ablation of the whole model"} <= set(messages)
    for what, steps in messages.items():
        assert steps[0][0] == 0 and steps[-1][0] == steps[-1][1], what


def test_the_head_table_alone_is_that_of_the_report() -> None:
    model = AttentionOnly(vocabulary=24).train()
    sequences = sequences_of(random_ids(18, 32))
    rows = head_rows(model, sequences, settings=replace(QUICK, null_models=0))
    assert repr(rows) == repr(validate(model, sequences, settings=QUICK).heads)
    assert model.training


def footprint(model: nn.Module) -> dict[str, Any]:
    """Everything of a model, and of the libraries it runs on, that a validation must leave as it was."""
    import sys

    tensors = hashlib.sha256()
    for _, tensor in sorted(model.state_dict().items()):
        tensors.update(tensor.detach().cpu().numpy().tobytes())
    hooks = [
        (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks), len(m._backward_pre_hooks))
        for m in model.modules()
    ]
    modeling = sys.modules.get("transformers.modeling_utils")
    table = dict(modeling.AttentionInterface._global_mapping) if modeling else {}
    return {
        "tensors": tensors.hexdigest(),
        "flags": [m.training for m in model.modules()],
        "grad": [(p.requires_grad, p.grad is None) for p in model.parameters()],
        "random": torch.get_rng_state().tolist(),
        "hooks": hooks,
        "config": repr(getattr(model, "config", None)),
        "table": {name: id(function) for name, function in table.items()},
        "grad mode": torch.is_grad_enabled(),
        "functional": id(torch.nn.functional.scaled_dot_product_attention),
    }


@pytest.fixture
def raising_check() -> Iterator[None]:
    def judge(study: object) -> list[Finding]:
        raise ZeroDivisionError

    facts = CHECKS["ablation_signature"]
    judge.__module__ = facts.judge.__module__  # a check of another package that raises becomes a finding
    CHECKS["ablation_signature"] = replace(facts, judge=judge)
    yield
    CHECKS["ablation_signature"] = facts


def build_both() -> list[nn.Module]:
    plain_module, llama = AttentionOnly(vocabulary=24).train(), tiny_llama().train()
    plain_module.blocks[0].eval()
    llama.model.layers[1].self_attn.q_proj.weight.requires_grad_(False)
    return [plain_module, llama]


@pytest.mark.parametrize("index", [0, 1], ids=["plain module", "llama"])
def test_a_model_is_unchanged_by_its_validation(index: int) -> None:
    model = build_both()[index]
    before = footprint(model)
    run(model, null_models=1)
    assert footprint(model) == before


@pytest.mark.usefixtures("raising_check")
@pytest.mark.parametrize("index", [0, 1], ids=["plain module", "llama"])
def test_a_model_is_unchanged_when_a_check_raises(index: int) -> None:
    model = build_both()[index]
    before = footprint(model)
    with pytest.raises(ZeroDivisionError):
        run(model, null_models=1)
    assert footprint(model) == before


def test_findings_keep_their_documents_and_the_data_names_them() -> None:
    report = run(PatternModel(own_token), count=24)
    names = report.data["document_fingerprints"]
    assert len(set(names)) == 24
    kept = [f for s in report.sections for f in s.findings if f.units is not None]
    assert {"previous_token", "own_text_matters", "mass_by_distance", "concentration_keeps_with_length"} <= {
        finding.claim for finding in kept
    }
    for finding in kept:
        values = np.array([np.nan if value is None else value for value in finding.units], dtype=float)
        assert finding.head is None and len(values) == 24
        mean = np.exp(np.nanmean(np.log(values))) if "scale" in finding.detail else np.nanmean(values)
        assert finding.estimate == pytest.approx(mean, rel=1e-6, abs=1e-6), finding.claim


def one_text(times: int) -> TokenBatch:
    loaded = load_model()
    text = " ".join(load_documents().texts[:4])
    documents = Documents(names=("a",) * times, texts=(text,) * times, origin="one text")
    return make_sequences(documents, loaded.tokenizer, seq_len=32, sequences=64)


def test_one_text_however_often_gives_no_pass_of_a_claim_on_documents() -> None:
    """Before, 64 copies gave 20 PASS with n = 64."""
    for times in (1, 64):
        sequences = one_text(times)
        assert sequences.blocks and sequences.copies == times - 1
        found = validate(load_model().model, sequences, settings=QUICK)
        assert found.data["copies_dropped"] == times - 1 and found.data["blocks"] is True
        passed = {
            f.claim
            for s in found.sections
            for f in s.findings
            if f.verdict in ("PASS", "ABSENT") and s.number not in (1, 8)
        }
        assert passed <= {"induction"}
        assert any(f.detail.get("without_blocks") == "PASS" for s in found.sections for f in s.findings)
        assert "keep this report" not in " ".join(found.summary["next"])


def test_copies_in_a_batch_made_by_hand_count_once() -> None:
    ids = random_ids(20, 32)
    ids[10:] = ids[:10]
    found = validate(PatternModel(own_token), sequences_of(ids), settings=QUICK)
    assert found.data["documents"] == 10 and found.data["copies_dropped"] == 10
    assert "10 documents dropped: their tokens are exactly those of others" in found.data["notes"]
