from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest

from heedful.errors import OutputError, UsageError
from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.shown_record import ShownRecord, counted, framed


@dataclass(frozen=True, kw_only=True, repr=False)
class Measured(ShownRecord):
    schema: ClassVar[str] = "heedful.measured/1"
    page_by: ClassVar[str] = f"{__name__}:page"

    name: str
    value: float

    def one_line(self) -> str:
        return f"{self.name}: {self.value:g}"


def page(found: Measured) -> Page:
    return Page(title="Measured", subject=found.name, parts=[PagePart(title="Value", text=f"{found.value:g}")])


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Measured:
    monkeypatch.setattr("heedful.reporting.shown_record._named", lambda place: _NAMED[place])
    return Measured(name='<script>alert("x")</script>', value=0.5)


def _json(found: object) -> str:
    from heedful.reporting.pages.part import record_json

    return record_json(found)  # type: ignore[arg-type]


_NAMED = {f"{__name__}:page": page, ShownRecord.json_by: _json}


def test_the_repr_is_short_and_says_what_was_found(record: Measured) -> None:
    assert repr(record) == 'Measured(<script>alert("x")</script>: 0.5)'


def test_a_record_that_does_not_say_is_an_error() -> None:
    with pytest.raises(NotImplementedError, match=r"ShownRecord\.one_line"):
        repr(ShownRecord())


@pytest.mark.parametrize("ending", [".html", ".json", ".HTML"])
def test_it_is_saved_by_the_ending(record: Measured, tmp_path: Path, ending: str) -> None:
    place = tmp_path / f"found{ending}"
    assert record.save(str(place)) == place
    assert place.read_text("utf-8") == (record.to_json() if ending == ".json" else record.to_html())
    record.save(place)  # its own file may be written again
    place.write_text("mine")
    with pytest.raises(OutputError, match="already exists there"):
        record.save(place)
    assert place.read_text() == "mine"
    record.save(place, force=True)


@pytest.mark.parametrize("name", ["found.pdf", "found", "found.html.gz"])
def test_other_endings_are_refused_in_one_line(record: Measured, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"expected a name that ends in \.html or \.json, got") as refused:
        record.save(tmp_path / name)
    assert "\n" not in str(refused.value) and list(tmp_path.iterdir()) == []


class Frames(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))


def test_a_notebook_shows_the_page_in_a_sandboxed_frame_and_nothing_else(record: Measured) -> None:
    found = Frames()
    found.feed(record._repr_html_())
    assert [tag for tag, _ in found.tags] == ["iframe"]  # what stands in the page is no tag of the notebook
    attributes = found.tags[0][1]
    assert attributes["sandbox"] == "" and attributes["srcdoc"] == record.to_html()
    assert attributes["title"] == repr(record)


def test_a_title_cannot_leave_its_attribute() -> None:
    assert '"' not in framed("p", '" onload="x').split('title="')[1].split('" style')[0]


def test_numbers_take_their_nouns() -> None:
    assert (counted(1, "head"), counted(2_000, "head"), counted(0, "head")) == ("1 head", "2,000 heads", "0 heads")
