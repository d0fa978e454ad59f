"""The page of architectures is what the code finds today."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

DOCS = Path(__file__).parents[2] / "docs"
page = SimpleNamespace(**runpy.run_path(str(DOCS / "architectures.py"), run_name="architectures"))
LINES = (DOCS / "architectures.md").read_text(encoding="utf-8").splitlines()
ROWS = {line.split("|")[1].strip(): line for line in LINES if line.startswith("| ")}
NAMES = sorted(name for family, _ in page.FAMILIES for name in family)


def but_for_its_way(row: str) -> list[str]:
    """A row's cells without the way in which a model was met, which changes as transformers rewrites its models."""
    name, _, *others = row.split("|")[1:]
    return [name, *others]


def test_every_architecture_has_its_row() -> None:
    assert [name for name in ROWS if name != "architecture"] == NAMES and len(NAMES) >= 40


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["gpt2", "bloom", "t5", "siglip_vision_model", "longformer", "mamba"])
def test_rows_are_up_to_date(name: str) -> None:
    assert but_for_its_way(page.row(name, page.proofs_of(name))) == but_for_its_way(ROWS[name])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_all_rows_are_up_to_date(name: str) -> None:
    assert but_for_its_way(page.row(name, page.proofs_of(name))) == but_for_its_way(ROWS[name])
