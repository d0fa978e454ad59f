"""Parse a report from JSON; a wrong schema, a truncated file or a NaN raises an error."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from heedful.evaluation.page.json_document import SCHEMA
from heedful.evaluation.page.terminal import print_report
from heedful.reporting.json_values import RECORDS, RecordReader

if TYPE_CHECKING:
    from heedful.evaluation.page.schema import (
        CardsDocument,
        HeadCardDocument,
        HeadDocument,
        ReportDocument,
        SectionDocument,
        StrongestDocument,
    )
    from heedful.evaluation.result import Report

_AGAIN = "write it again with: heedful validate MODEL --json PATH"
MOST_BYTES = 1 << 27
MOST_VALUES = 4_000_000
"""Commas and brackets, those in text too; a report of 1,000 heads with cards has some 300,000."""

_LONGEST_NUMBER, _LARGEST = 20, 2**63
_FAMILY, _, _VERSION = SCHEMA.rpartition("/")


def from_json(text: str | bytes, *, name: str = "report") -> Report:
    """Parse the text that ``to_json`` wrote into a report.

    Pitfall: a null among a head's statistics comes back as NaN, a null estimate as None.

    Args:
        text: The whole document.
        name: How a message calls it: its path, say.

    Returns:
        A report that writes the same document again.

    Raises:
        InputRejected: The text is no complete JSON, has another schema, or does not follow it.
    """
    from heedful.errors import InputRejected

    _refuse_too_many(text, name)
    try:
        document = json.loads(
            text, parse_constant=_constant, parse_float=_finite, parse_int=_whole, object_pairs_hook=_unique
        )
    except RecursionError:
        raise InputRejected(name, "JSON is nested too deep for a report", _AGAIN) from None
    except ValueError as error:
        raise InputRejected(name, f"expected a whole JSON document: {error}", _AGAIN) from None
    _refuse_other_schema(document, name)
    return _report(_validated(document, name))


def _refuse_too_many(text: str | bytes, name: str) -> None:
    """Refuse a document of more values than a report has, before memory is taken for them."""
    from heedful.errors import ResourceLimit

    if len(text) > MOST_BYTES:
        raise ResourceLimit(f"{name}: expected a report of at most {MOST_BYTES:,} bytes, found {len(text):,}")
    comma, bracket, brace = (b",", b"[", b"{") if isinstance(text, bytes) else (",", "[", "{")
    found = text.count(comma) + text.count(bracket) + text.count(brace)  # type: ignore[arg-type]
    if found > MOST_VALUES:
        raise ResourceLimit(f"{name}: expected a report of at most {MOST_VALUES:,} values, found {found:,}")


def _refuse_other_schema(document: Any, name: str) -> None:
    from heedful.errors import InputRejected

    schema = document.get("schema") if isinstance(document, dict) else None
    if schema == SCHEMA:
        return
    family, _, version = schema.rpartition("/") if isinstance(schema, str) else ("", "", "")
    if family == _FAMILY and version.isdigit() and version.isascii() and int(version[:9]) > int(_VERSION):
        raise InputRejected(name, f"schema {version[:9]} > {_VERSION}", "read it with a newer heedful")
    raise InputRejected(name, f"expected schema {SCHEMA}, got {schema!r:.80}", _AGAIN)


def _validated(document: Any, name: str) -> ReportDocument:
    from pydantic import ValidationError

    from heedful.errors import InputRejected
    from heedful.evaluation.page.schema import ReportDocument

    try:
        return ReportDocument.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        what = f"{place}: {first['msg']} ({error.error_count()} such places)"
        raise InputRejected(name, f"does not follow {SCHEMA}: {what}", _AGAIN) from None


def _report(document: ReportDocument) -> Report:
    from heedful.evaluation.result import Report

    return Report(
        verdict=document.verdict,
        model=document.model,
        data=document.data,
        settings=document.settings,
        versions=document.versions,
        sections=[_section(section) for section in document.sections],
        heads=[_head(head) for head in document.heads],
        not_measured=document.not_measured,
        summary=document.summary,
        run=document.run,
        cards=None if document.cards is None else _cards(document.cards),
    )


def _section(section: SectionDocument) -> Any:
    from heedful.evaluation.result import Finding, Section

    findings = []
    for document in section.findings:
        fields = dict(document)
        if document.interval is not None:
            fields["interval"] = tuple(_float(bound) for bound in document.interval)
        findings.append(Finding(**fields))
    return Section(number=section.number, title=section.title, findings=findings)


def _head(head: HeadDocument) -> Any:
    from heedful.evaluation.result import HeadRow

    return HeadRow(**{**dict(head), "statistics": {key: _float(value) for key, value in head.statistics.items()}})


def _cards(cards: CardsDocument) -> Any:
    from heedful.evaluation.result import Cards

    tokens = {int(position): text for position, text in cards.tokens.items()}
    heads = [_card(card) for card in cards.heads]
    return Cards(document=cards.document, length=cards.length, tokens=tokens, distances=cards.distances, heads=heads)


def _card(card: HeadCardDocument) -> Any:
    from heedful.evaluation.result import HeadCard, Picture

    return HeadCard(
        layer=card.layer,
        head=card.head,
        picture=None if card.picture is None else Picture(**dict(card.picture)),
        distance=[_three(point) for point in card.distance],
        uniform=[_float(share) for share in card.uniform],
        received=None if card.received is None else _strongest(card.received),
        strongest=[_strongest(one) for one in card.strongest],
        untrained={name: _three(values) for name, values in card.untrained.items()},
        keys_are_tokens=card.keys_are_tokens,
    )


def _strongest(one: StrongestDocument) -> Any:
    from heedful.evaluation.result import Strongest

    return Strongest(query=one.query, keys=one.keys, weights=[_float(weight) for weight in one.weights])


def _three(values: tuple[float | None, float | None, float | None]) -> tuple[float, float, float]:
    first, second, third = values
    return _float(first), _float(second), _float(third)


def _float(value: float | None) -> float:
    return math.nan if value is None else value


def _constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is beyond every number")
    return value


def _whole(text: str) -> int:
    if len(text) > _LONGEST_NUMBER or abs(int(text)) >= _LARGEST:
        raise ValueError(f"{text[:40]} is beyond 64 bits")
    return int(text)


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in pairs:
        if key in document:
            raise ValueError(f"the key {key!r:.80} occurs twice")
        document[key] = value
    return document


RECORDS.add(_FAMILY, RecordReader(read=from_json, show=print_report))
