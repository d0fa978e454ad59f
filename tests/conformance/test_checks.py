"""Every registered check: one name everywhere, and findings that can be disagreed with."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import pytest
import torch
from tests.evaluation.checks import pattern_models, planted
from tests.places import TESTS

from heedful.evaluation import nine_sections
from heedful.evaluation.nine_sections import validate
from heedful.evaluation.registry import CHECKS
from heedful.evaluation.result import Finding
from heedful.evaluation.settings import Settings
from heedful.inference.verdict import Verdict

FOLDERS = {"heedful.evaluation.checks": TESTS / "evaluation/checks", "heedful.gauge.checks": TESTS / "gauge/checks"}
FILES = {
    module.name: f"{package}.{module.name}"
    for package in FOLDERS
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__)
}
"""Name of a check to its module."""


def test_files_tests_order_and_registry_are_the_same_names() -> None:
    assert set(CHECKS) == set(FILES)
    assert len(nine_sections.ORDER) == len(set(nine_sections.ORDER))
    assert set(nine_sections.ORDER) == set(CHECKS)
    tests = {path.stem.removeprefix("test_") for folder in FOLDERS.values() for path in folder.glob("test_*.py")}
    missing = sorted(set(FILES) - tests)
    assert not missing, f"without a test: {missing}"


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_a_check_is_a_function_of_its_file_with_a_source_and_a_claim(name: str) -> None:
    facts, module = CHECKS[name], importlib.import_module(FILES[name])
    assert facts.judge is getattr(module, name)
    assert facts.source == module.SOURCE and facts.source
    assert module.__doc__ is not None and module.__doc__.startswith(f"Section {facts.section}: ")
    assert module.__doc__.rstrip().endswith("?"), "a check answers a question"
    assert facts.judge.__doc__, "its docstring is the claim, a sentence that can be false"
    assert 30 <= len(facts.meaning) <= 120 and facts.meaning.endswith("."), "one plain sentence for a reader"


def test_order_keeps_sections_together() -> None:
    sections = [CHECKS[name].section for name in nine_sections.ORDER]
    assert sections == sorted(sections)
    assert set(sections) == set(range(1, 10))


@cache
def planted_findings(fault: str) -> list[Finding]:
    """Findings of a whole report on planted attention: sound, faulty, diffuse, and with too little text."""
    models = {
        "content": lambda: pattern_models.PatternModel(pattern_models.own_token, pattern_models.near_keys),
        "diffuse": lambda: pattern_models.PatternModel(pattern_models.nothing),
        "both ways": lambda: pattern_models.PatternModel(pattern_models.nothing, causal=False),
        "layers": lambda: pattern_models.SpreadModel([0.1 * k for k in range(1, 10)], [0.2 * k for k in range(1, 10)]),
        "few": lambda: pattern_models.PatternModel(pattern_models.own_token),
    }
    faulty = lambda: planted.PlantedModel(*planted.previous_token_heads(2, 32), fault=fault)  # noqa: E731
    ids = planted.alternating_ids(18, 32) if fault not in models else planted.random_ids(18, 32)
    sequences = planted.sequences_of(ids[:4] if fault == "few" else ids)
    sequences = pattern_models.marked(sequences, torch.arange(32)[None] == torch.zeros(len(sequences.input_ids), 1))
    preset = "standard" if fault == "content" else "quick"
    settings = Settings(preset=preset, null_models=2 if fault == "content" else 0, resamples=199)
    report = validate(models.get(fault, faulty)(), sequences, settings=settings)
    return [finding for section in report.sections for finding in section.findings]


FAULTS = ["content", "diffuse", "both ways", "layers", "few", "leak", "dead", "unused", "nan logits"]


@pytest.mark.parametrize("fault", FAULTS)
def test_every_finding_says_why_by_which_margin_and_from_where(fault: str) -> None:
    findings = planted_findings(fault)
    assert {f.claim for f in findings} == set(CHECKS)
    for f in findings:
        assert isinstance(f.verdict, Verdict)
        assert f.reason.strip(), f
        assert f.source == CHECKS[f.claim].source, f
        assert "nan" not in f.reason.replace("nanmean", ""), f
        if f.verdict in (Verdict.PASS, Verdict.ABSENT, Verdict.FAIL):
            assert f.threshold is not None and f.estimate is not None and f.unit, f
            assert f.n > 0 or f.claim == "attention_is_finite", f
        if f.interval is not None and f.estimate is not None and f.estimate == f.estimate:
            assert not f.interval[0] > f.estimate + 1e-9 and not f.interval[1] < f.estimate - 1e-9, f
        if f.p_adjusted is not None:
            assert f.p is not None and f.p_adjusted >= f.p - 1e-9 and f.null, f
        if f.head is not None:
            assert f.layer is not None


def test_only_what_describes_never_passes() -> None:
    passed = {f.claim for fault in FAULTS for f in planted_findings(fault) if f.verdict in (Verdict.PASS, Verdict.FAIL)}
    assert not {name for name, facts in CHECKS.items() if facts.descriptive} & passed


def test_every_verdict_that_a_finding_can_have_was_seen() -> None:
    seen = {f.verdict for fault in ("content", "diffuse", "few", "nan logits", "dead") for f in planted_findings(fault)}
    assert {Verdict.PASS, Verdict.FAIL, Verdict.WARN, Verdict.ABSENT, Verdict.INFO, Verdict.SKIP} <= seen
    assert {Verdict.INSUFFICIENT, Verdict.UNDEFINED, Verdict.ERROR} <= seen


def test_every_claim_says_what_it_means_for_a_reader() -> None:
    assert [facts.name for facts in CHECKS.values() if not facts.meaning] == []
    assert all(facts.meaning.endswith(".") and len(facts.meaning) < 200 for facts in CHECKS.values() if facts.meaning)
