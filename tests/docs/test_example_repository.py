"""The example repository does what its workflow says: every step of it is run, in a copy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from tests.places import ROOT

EXAMPLE = ROOT / "docs" / "example-repository"


def steps() -> dict[str, str]:
    """Name to command of the steps that run something here."""
    workflow = yaml.safe_load((EXAMPLE / ".github" / "workflows" / "attention.yml").read_text())
    return {step["name"]: step["run"] for step in workflow["jobs"]["attention"]["steps"] if "run" in step}


def run(command: str, folder: Path, summary: Path) -> subprocess.CompletedProcess[str]:
    """One step as a shell runs it, with this heedful, its plugin and an empty summary."""
    summary.write_text("")
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for name, words in (
        ("heedful", "-m heedful"),
        ("pytest", "-m pytest -p heedful.testing.pytest_plugin"),
        ("python", ""),
    ):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (tools / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT / 'src'}",
        "GITHUB_STEP_SUMMARY": str(summary),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        ["bash", "-e", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_every_step_of_the_workflow_runs(tmp_path: Path) -> None:
    folder, summary = tmp_path / "repository", tmp_path / "summary.md"
    shutil.copytree(EXAMPLE, folder)
    assert list(steps()) == ["Install", "Test", "Train", "Validate", "Compare with the baseline"]
    for name, command in steps().items():
        if name == "Install":
            continue
        done = run(command, folder, summary)
        assert done.returncode == 0, f"{name}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        if name in ("Validate", "Compare with the baseline"):
            assert "## " in summary.read_text()
    tests, checks = (ElementTree.parse(folder / name).getroot() for name in ("tests.xml", "attention.xml"))
    assert tests[0].get("tests") == "4" and tests[0].get("failures") == "0"
    assert checks.get("failures") == "0" and int(checks.get("tests", "0")) > 20
    weaker = json.loads((folder / "report.json").read_text())
    for section in weaker["sections"]:
        for finding in section["findings"]:
            if finding["claim"] == "learned_weights_matter" and finding["head"] is None:
                finding["verdict"] = "FAIL"
    (folder / "report.json").write_text(json.dumps(weaker))
    done = run(steps()["Compare with the baseline"], folder, summary)
    assert done.returncode == 1 and "learned&#95;weights&#95;matter" in summary.read_text()


def test_the_documents_are_many_enough_to_judge() -> None:
    texts = [json.loads(line)["text"] for line in (EXAMPLE / "texts.jsonl").read_text().splitlines()]
    assert len(set(texts)) >= 16 and min(map(len, texts)) >= 32
