"""The page of architectures is what the code finds today, and nothing on it is silently wrong."""

from __future__ import annotations

import re
import sys

import pytest
import torch
from tests.places import DOCS

sys.path.insert(0, str(DOCS))

from architectures.case import Batch, Runs
from architectures.compared import Said, differences
from architectures.families import cases
from architectures.page import PAGE, found_of
from architectures.reference import kernel_weights, statistics
from architectures.row import row

CASES = cases()
TEXT = PAGE.read_text(encoding="utf-8")
ROWS = {line.split("|")[1].strip(): line for line in TEXT.splitlines() if line.startswith("| ")}
SOME = ["gpt2", "bert", "bloom", "t5", "swin", "siglip_vision_model", "longformer", "mamba"]


def beside_the_way(line: str) -> list[str]:
    """A row without its way in, which is another one in other versions of transformers."""
    cells = line.split("|")
    return cells[:2] + cells[3:]


def check(name: str) -> None:
    found = found_of(CASES[name])
    if found.skipped:
        pytest.skip(f"needs {found.skipped}")
    assert found.error == ""
    assert found.wrong == []
    assert beside_the_way(row(found)) == beside_the_way(ROWS[name])


def test_every_architecture_has_its_row() -> None:
    assert [name for name in ROWS if name != "architecture"] == list(CASES) and len(CASES) >= 250


def test_the_page_says_that_nothing_is_silently_wrong() -> None:
    assert re.search(r"^\*\*0 silently wrong\*\*\.$", TEXT, re.MULTILINE)
    assert "could not be run" not in TEXT


def test_what_needs_a_package_says_which() -> None:
    needed = {case.package.split("<")[0] for case in CASES.values()} - {""}
    assert needed == {"peft", "sentence-transformers", "timm", "transformer-lens", "x-transformers"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOME)
def test_rows_are_up_to_date(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in CASES if name not in SOME])
def test_all_rows_are_up_to_date(name: str) -> None:
    check(name)


def test_reference_statistics_of_uniform_rows() -> None:
    weights = torch.full((1, 1, 10, 10), 0.1)
    found = statistics(weights, torch.ones(1, 10, dtype=torch.bool), 0)
    assert float(found["row_entropy"]) == pytest.approx(float(torch.tensor(10.0).log()), abs=1e-6)
    assert float(found["concentration"]) == pytest.approx(0.0, abs=1e-6)
    assert float(found["max_weight"]) == pytest.approx(0.1) and float(found["self_mass"]) == pytest.approx(0.1)


def test_reference_leaves_out_padded_and_short_rows() -> None:
    real = torch.tensor([[True] * 10 + [False] * 2])
    weights = kernel_weights(
        torch.zeros(1, 1, 12, 4), torch.zeros(1, 1, 12, 4), torch.zeros(1, 1, 12, 4), is_causal=True
    )
    found = statistics(weights, real, 0)
    assert float(found["max_weight"]) == pytest.approx(sum(1 / keys for keys in (8, 9, 10)) / 3)


def test_differences_are_told_with_both_numbers() -> None:
    one = Said({"max_weight": torch.tensor([[0.5, 0.2]])}, 10)
    other = Said({"max_weight": torch.tensor([[0.5, 0.25]])}, 12)
    assert differences(one, other) == ["rows 10 and 12", "max_weight 0.2 and 0.25"]
    assert differences(one, one) == []


def test_real_rows_are_found_by_the_length_of_their_stream() -> None:
    mask = torch.tensor([[True, True, False]])
    batch = Runs([Batch({}, (mask,))]).alone[0]
    assert batch.rows(1, 3) is mask and bool(batch.rows(1, 5).all())
