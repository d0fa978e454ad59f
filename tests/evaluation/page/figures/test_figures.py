"""Each figure: what it draws of a report, nothing where there is nothing, and files that are SVG and PNG."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from tests.evaluation.page import factory
from tests.evaluation.page.cards import carded

from heedful.errors import OutputError
from heedful.evaluation.page.figures.figures import FIGURES, save_figures
from heedful.evaluation.result import Report
from heedful.reporting.drawing import drawn, png, svg

BY_NAME = {figure.name: figure for figure in FIGURES}
each = pytest.mark.parametrize("name", sorted(BY_NAME))


def rows_of(name: str, report: Report) -> list[dict[str, Any]]:
    """Every row of data in a figure's specification."""
    chart = BY_NAME[name].chart(report)
    assert chart is not None
    found: list[dict[str, Any]] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.extend(value["values"] if isinstance(value.get("values"), list) and "url" not in value else [])
            for part in value.values():
                walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    specification = chart.to_dict()
    walk(specification.get("datasets", {}))
    for data in specification.get("datasets", {}).values():
        found.extend(data)
    walk({key: value for key, value in specification.items() if key != "datasets"})
    return [row for row in found if isinstance(row, dict)]


@each
def test_the_name_is_that_of_its_file(name: str) -> None:
    assert BY_NAME[name].chart.__name__ == name
    assert BY_NAME[name].chart.__module__ == f"heedful.evaluation.page.figures.{name}"


@each
def test_a_report_without_anything_has_no_figure(name: str) -> None:
    assert BY_NAME[name].chart(replace(factory.small(), heads=[], sections=[])) is None


def test_entropy_lies_below_its_ceiling() -> None:
    heads = [factory.head(0, 0, statistics={"row_entropy": 1.5, "concentration": 2.5})]
    rows = rows_of("entropy_by_layer", factory.small(heads=heads))
    assert {"layer": 0, "entropy": 1.5, "ceiling": 4.0} in rows
    assert {"layer": 0, "ceiling": 4.0} in rows


def test_concentration_stands_beside_untrained_models_and_margins() -> None:
    report = carded(replace(factory.realistic(), settings={"margins": {"diffuse": 0.05, "selective": 0.5}}))
    rows = rows_of("concentration_by_layer", report)
    assert {"layer": 2, "nats": 0.001, "most": 0.004, "series": "nothing learned"} in rows
    assert {row["nats"] for row in rows if "says" in row} == {0.05, 0.5}
    assert sum(row.get("series") == "this model" for row in rows) == 23  # one of 24 is undefined


def test_distances_are_compared_with_equal_weights() -> None:
    rows = rows_of("distance_by_layer", carded())
    shown = {(row["layer"], row["distance"]): row["doublings"] for row in rows}
    assert shown[1, "0"] == pytest.approx(1.0) and shown[1, "1"] == pytest.approx(3.0)
    assert shown[3, "4+"] == pytest.approx(-2.0)


def test_mass_by_distance_is_the_finding_s_own_curve() -> None:
    curve = [{"distance": "0", "mass": 0.2, "low": 0.1, "high": 0.3, "uniform": 0.5}, {"distance": "1+", "mass": None}]
    finding = factory.finding("mass_by_distance", "INFO", detail={"curve": curve})
    rows = rows_of(
        "mass_by_distance", factory.small(sections=[factory.Section(number=2, title="x", findings=[finding])])
    )
    assert {"distance": "0", "mass": 0.2, "series": "this model"} in rows
    assert {"distance": "0", "mass": 0.5, "series": "equal weights"} in rows
    assert not any(row.get("distance") == "1+" for row in rows)


def test_the_forest_has_every_interval_and_tells_those_beyond_the_margin() -> None:
    rows = [row for row in rows_of("ablation_forest", factory.realistic()) if "arm" in row]
    assert len({(row["arm"], row["layer"]) for row in rows}) == 25
    tell = {(row["arm"], row["layer"]): row["series"] for row in rows}
    assert tell["output removed", "all"] == "beyond the margin"
    assert tell["mean pattern", "0"] == tell["other text's pattern", "0"] == "not beyond it"


def test_the_map_holds_each_head_that_is_defined() -> None:
    rows = rows_of("concentration_map", factory.realistic())
    assert {(row["layer"], row["head"]) for row in rows} == {(i, j) for i in range(4) for j in range(6)} - {(3, 5)}


def test_files_are_svg_and_png_with_nothing_from_outside(tmp_path: Path) -> None:
    written = save_figures(carded(), tmp_path / "new", overwrite=False)
    made = sorted(path.stem for path in written if path.suffix == ".svg")
    assert made == sorted(set(BY_NAME) - {"mass_by_distance", "entropy_by_layer"})
    for path in written:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
            continue
        root = ElementTree.fromstring(path.read_text())
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert not re.search(r"(href|src)=|<script|<foreignObject|\son\w+=", path.read_text())


def test_ink_follows_the_reader_s_theme_on_a_page_and_is_dark_in_a_file() -> None:
    (one,) = drawn(carded(), [BY_NAME["concentration_map"]])
    page, file = svg(one, ink="currentColor", background="transparent"), svg(one)
    assert "prefers-color-scheme:dark" in page and "currentColor" in page and '"ink"' not in page
    assert "currentColor" not in file and "prefers-color-scheme" not in file and '"ink"' not in file
    assert len(png(one)) > 1000


def test_figures_that_stand_there_are_kept_unless_told(tmp_path: Path) -> None:
    (tmp_path / "concentration_map.svg").write_text("mine")
    with pytest.raises(OutputError, match="--force"):
        save_figures(carded(), tmp_path, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["concentration_map.svg"]
    save_figures(carded(), tmp_path, overwrite=True)
    assert (tmp_path / "concentration_map.svg").read_text().startswith("<svg")


def test_a_file_in_the_place_of_the_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("mine")
    with pytest.raises(OutputError, match="exists there"):
        save_figures(carded(), tmp_path / "figures", overwrite=True)
    assert (tmp_path / "figures").read_text() == "mine"
