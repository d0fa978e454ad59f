from __future__ import annotations

from pathlib import Path

import pytest
from tests.comparison.reports import report

import heedful
from heedful.errors import UsageError


def test_reports_and_their_files_are_compared_alike(tmp_path: Path) -> None:
    first, second = report(), report()
    paths = [one.save(tmp_path / f"{name}.json") for one, name in ((first, "first"), (second, "second"))]
    found = heedful.compare(*paths, fail_on="never")
    assert found.fail_on == ("never",) and not found.failed
    assert found.verdicts == heedful.compare(first, second, fail_on=["never"]).verdicts
    assert repr(found).startswith("Comparison(") and "0 regressions" in repr(found)
    assert found.save(tmp_path / "c.json").read_text() == found.to_json()
    assert "<iframe sandbox" in found._repr_html_()


def test_one_file_is_not_compared_with_itself(tmp_path: Path) -> None:
    path = report().save(tmp_path / "r.json")
    with pytest.raises(UsageError, match="is the same file as"):
        heedful.compare(path, tmp_path / "." / "r.json")


@pytest.mark.parametrize("given", [None, {}, 3])
def test_what_is_no_report_is_refused(given: object) -> None:
    with pytest.raises(UsageError, match=r"before: expected what heedful\.validate returns"):
        heedful.compare(given, given)  # type: ignore[arg-type]
