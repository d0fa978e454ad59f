"""The fixture in a run of its own: what passes, what fails, what is recorded, and what loading it costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from xml.etree import ElementTree

import pytest
from tests.places import ROOT

pytest_plugins = ["pytester"]
PLUGIN = ("-p", "heedful.testing.pytest_plugin", "-p", "no:cacheprovider")

TESTS = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.evaluation.checks.planted import PlantedModel, alternating_ids, previous_token_heads

def model(fault=""):
    return PlantedModel(*previous_token_heads(2, 32), fault=fault)

def test_sound(attention):
    ids = alternating_ids(20, 32)
    attention.causal(model(), ids)
    attention.rows_sum_to_one(model(), ids)
    attention.finite(model(), ids)
    attention.gradients_reach(model(), ids)
    attention.capture_matches(model(), ids)
    attention.not_collapsed(model(), ids)
    assert attention.used(model(), ids, replacement="uniform").interval[0] > 0.01

def test_leak(attention):
    attention.causal(model("leak"), alternating_ids(4, 32))

def test_few(attention):
    attention.used(model(), alternating_ids(4, 32))
"""


@pytest.mark.slow
def test_assertions_hold_fail_and_are_recorded(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess(*PLUGIN, "--junit-xml=out.xml")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*attention is causal: does not hold: masks leave later keys visible*"])
    result.stdout.fnmatch_lines(["*attention is used: insufficient data: *"])
    result.stdout.no_fnmatch_line("*heedful/testing/*")
    result.stdout.fnmatch_lines(["*= attention =*", "*test_sound assert_causal PASS: 0 relative change"])
    result.stdout.fnmatch_lines(["*test_sound assert_attention_used PASS: * nat/token [[]*]"])
    found = [one.get("name") for one in ElementTree.parse(pytester.path / "out.xml").iter("property")]
    assert len(found) == 7 and found[0] == "assert_causal"


def test_a_run_without_it_is_as_before(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import sys\ndef test_light():\n    assert 'torch' not in sys.modules")
    result = pytester.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*= attention =*")


def test_the_fixture_is_listed_with_its_meaning(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess(*PLUGIN, "--fixtures")
    result.stdout.fnmatch_lines(["attention*", "*assertions on a model's attention*"])


def test_loading_it_is_light() -> None:
    heavy = {"torch", "numpy", "heedful.attention"}
    message = f"import sys, heedful.testing.pytest_plugin; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", message], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_entry_point_names_it() -> None:
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert entry == {"heedful.testing.pytest_plugin": "heedful.testing.pytest_plugin"}
