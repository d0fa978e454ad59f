"""Render the top and end of the terminal page: subject, unmeasured modules, counts, conclusion.

Render a report in at most 25 lines: verdict, subject, failed and open claims, conclusion, next step.

Render a finding in lines: verdict and claim, reason, numbers, and the heads that matter.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from heedful.reporting.marks import VERDICTS, ellipsis, mark, style
from heedful.reporting.paragraph import (
    BLANK,
    COLUMNS,
    Line,
    Sheet,
    aligned,
    cells,
    flow,
    line,
    listed,
    paragraph,
    plain,
    print_lines,
    sheet,
    stream_sheet,
)
from heedful.reporting.quantity import count, interval, margin, probability, quantity

if TYPE_CHECKING:
    from heedful.evaluation.result import Finding, Report


_LABEL = 10
_NOT_SHOWN = frozenset({"notes", "fingerprint", "document_fingerprints"})


def heading_lines(report: Report, page: Sheet, *, settings: bool = True) -> list[Line]:
    """Return lines with model, data and, if ``settings``, the settings and notes."""
    model, data = report.model, report.data
    lines = _entry("Model", [*_model(model), *_rest(model, _MODEL_WORDS)], page)
    lines += _entry("Data", [*_data(data), *_rest(data, _DATA_WORDS)], page)
    if not settings:
        return lines
    lines += _entry("Settings", _rest(report.settings, frozenset()), page)
    for note in _texts(model.get("notes")) + _texts(data.get("notes")):
        lines += _entry("Note", [note], page)
    return lines


def not_measured_lines(report: Report, page: Sheet) -> list[Line]:
    """Return lines on modules that were not captured or not understood, with reasons; empty if there are none."""
    lines: list[Line] = []
    for gap in report.not_measured:
        text = f"{page.text(gap.get('what', '?'))}: {page.text(gap.get('why', 'no reason given'))}"
        lines += paragraph(text, page.width, indent="    ", first="  - ")
    return lines


def summary_lines(report: Report, page: Sheet) -> list[Line]:
    """Return lines with counts by verdict, the number of tests and their adjustment, and the failed claims."""
    findings = [finding for section in report.sections for finding in section.findings]
    lines = tally_lines(report, page)
    lines += paragraph(_multiplicity(report.summary, findings, page), page.width, indent="  ")
    lines += paragraph(_sequential(report.summary, page), page.width, indent="  ")
    failed = _failed(findings)
    if failed:
        lines.append(BLANK)
    for finding in failed[:9]:
        lines += verdict_line(finding.verdict, f"{_place(finding)}{finding.claim}: {finding.reason}", page)
    if len(failed) > 9:
        lines.append(line(f"  and {len(failed) - 9} more: --json PATH"))
    return lines


def tally_lines(report: Report, page: Sheet) -> list[Line]:
    """Return lines that count the claims by verdict."""
    findings = [finding for section in report.sections for finding in section.findings]
    counts = _counts(report.summary, findings)
    words = [f"{mark(verdict, page.encoding)} {verdict} {total}" for verdict, total in counts.items()]
    return [line(f"  {row}") for row in flow((page.text(word) for word in words), "   ", page.width - 2)]


def verdict_lines(report: Report, page: Sheet) -> list[Line]:
    """Return a sentence with the number of failed and open claims and a pointer to the conclusion."""
    counts = _counts(report.summary, [finding for section in report.sections for finding in section.findings])
    failed = sum(counts.get(word, 0) for word in ("FAIL", "ERROR"))
    unsettled = sum(counts.get(word, 0) for word in ("WARN", "INSUFFICIENT DATA", "UNDEFINED"))
    passed = count(counts.get("PASS", 0), "claim")
    text = f"{passed} passed, {failed or 'none'} failed, {unsettled or 'none'} open. The conclusion is at the end."
    return [*paragraph(text, page.width), BLANK]


def conclusion_lines(report: Report, page: Sheet) -> list[Line]:
    """Return lines with the overall verdict and its meaning in plain words."""
    verdict = str(report.verdict)
    lines: list[Line] = [((f"{mark(verdict, page.encoding)} {verdict}", style(verdict)),), BLANK]
    for text in str(report.summary.get("conclusion", "no conclusion was drawn")).splitlines():
        lines += paragraph(page.text(text), page.width) or [BLANK]
    return lines


def next_lines(report: Report, page: Sheet) -> list[Line]:
    """Return numbered lines on what to try next; empty if there is nothing to suggest."""
    lines: list[Line] = []
    for index, text in enumerate(_texts(report.summary.get("next")), start=1):
        lines += paragraph(page.text(text), page.width, indent="   ", first=f"{index}. ")
    return lines


_MODEL_WORDS = frozenset({"name", "class", "architecture", "parameters", "layers", "heads", "dtype", "device"})
_DATA_WORDS = frozenset({"origin", "documents", "sequences", "tokens", "sequence_length"})


def _model(model: Mapping[str, Any]) -> list[str]:
    kind = next((str(model[key]) for key in ("class", "architecture") if model.get(key)), "")
    pieces = [str(model.get("name") or "unnamed"), kind]
    pieces += [count(model[key], key[:-1]) for key in ("layers", "heads", "parameters") if _whole_number(model, key)]
    where = " on ".join(str(model[key]) for key in ("dtype", "device") if model.get(key))
    return [piece for piece in (*pieces, where) if piece]


def _data(data: Mapping[str, Any]) -> list[str]:
    pieces = [str(data["origin"])] if data.get("origin") else []
    pieces += [count(data[key], key[:-1]) for key in ("documents", "sequences", "tokens") if _whole_number(data, key)]
    return pieces + ([f"{data['sequence_length']:,} tokens each"] if _whole_number(data, "sequence_length") else [])


def _rest(values: Mapping[str, Any], told: frozenset[str]) -> list[str]:
    scalar = {name: value for name, value in values.items() if name not in told | _NOT_SHOWN and _short(value)}
    return [f"{name.replace('_', ' ')} {_value(value)}" for name, value in scalar.items()]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " ".join(str(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(one, str | int | float) for one in value)
    return isinstance(value, str | int | float) and value != ""


def _whole_number(values: Mapping[str, Any], key: str) -> bool:
    return isinstance(values.get(key), int) and not isinstance(values[key], bool)


def _entry(label: str, pieces: Iterable[str], page: Sheet) -> list[Line]:
    rows = listed((page.text(piece) for piece in pieces), page.width - _LABEL)
    return [((f"{label if index == 0 else '':<{_LABEL}}", "bold"), (row, "")) for index, row in enumerate(rows)]


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(one) for one in value] if isinstance(value, Sequence) else []


def _counts(summary: Mapping[str, Any], findings: Sequence[Finding]) -> dict[str, int]:
    given = summary.get("counts")
    if isinstance(given, Mapping):
        messages = {str(verdict): total for verdict, total in given.items() if total}
        order = [verdict for verdict in VERDICTS if verdict in messages]
        return {verdict: messages[verdict] for verdict in dict.fromkeys([*order, *messages])}
    counts = Counter(str(finding.verdict) for finding in findings if finding.layer is None and finding.head is None)
    return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}


def _multiplicity(summary: Mapping[str, Any], findings: Sequence[Finding], page: Sheet) -> str:
    tests = summary.get("tests")
    made = tests if isinstance(tests, int) else sum(finding.p is not None for finding in findings)
    how = summary.get("multiplicity")
    message = ", ".join(f"{key} {value}" for key, value in how.items()) if isinstance(how, Mapping) else str(how or "")
    return f"{count(made, 'test')} made; {page.text(message) or 'multiplicity was not controlled'}."


def _sequential(summary: Mapping[str, Any], page: Sheet) -> str:
    """How early ablations stopped, and at which look how many; "" where all text was read."""
    message = summary.get("sequential")
    if not isinstance(message, Mapping) or not isinstance(message.get("stopped_at_look"), Mapping):
        return ""
    looks = ", ".join(f"look {look}: {total}" for look, total in message["stopped_at_look"].items())
    return page.text(
        f"{message.get('words', '')} ({looks}); intervals and p-values of section 9 hold over all interim analyses."
    )


def _failed(findings: Sequence[Finding]) -> list[Finding]:
    """Failures of the model and of layers; those of a head only where its claim did not fail as a whole."""
    failed = [finding for finding in findings if finding.verdict in ("FAIL", "ERROR")]
    messages = {finding.claim for finding in failed if finding.head is None}
    return [finding for finding in failed if finding.head is None or finding.claim not in messages]


def _place(finding: Finding) -> str:
    if finding.layer is None:
        return ""
    return f"L{finding.layer}: " if finding.head is None else f"L{finding.layer}H{finding.head}: "


LONGEST = 25
_HEADING, _CLAIMS, _CONCLUSION, _NEXT = 5, 6, 6, 2
_ORDER = ("FAIL", "ERROR", "WARN", "INSUFFICIENT DATA", "UNDEFINED")


def brief_lines(report: Report, page: Sheet) -> list[Line]:
    """Return the short version of a report as styled lines, at most 25.

    Args:
        report: What to show.
        page: What to write on.

    Returns:
        At most 25 lines of styled segments. Long parts are cut and end in an ellipsis.
    """
    verdict = str(report.verdict)
    word = f"{mark(verdict, page.encoding)} {verdict}"
    title = "ATTENTION VALIDATION"
    lines: list[Line] = [((aligned(title, page.width - cells(word)), "bold"), (word, style(verdict)))]
    lines += _cut(heading_lines(report, page, settings=False), _HEADING, page)
    lines += [BLANK, *_cut(tally_lines(report, page), 2, page)]
    lines += _open(report, page)
    conclusion = " ".join(str(report.summary.get("conclusion", "no conclusion was drawn")).split())
    lines += [BLANK, *_cut(paragraph(page.text(conclusion), page.width), _CONCLUSION, page)]
    following = _cut(next_lines(report, page), _NEXT, page)
    return [*lines, *([BLANK, *following] if following else [])][:LONGEST]


def brief_text(report: Report, *, columns: int = COLUMNS, encoding: str = "utf-8") -> str:
    """Return the short version of a report as plain text that ``encoding`` can represent."""
    return plain(brief_lines(report, sheet(columns, encoding)))


def print_brief(report: Report, stream: TextIO | None = None) -> None:
    """Print the short version of a report, in colour if the stream is a terminal that supports it."""
    out = stream or sys.stdout
    print_lines(brief_lines(report, stream_sheet(out)), out)


def _open(report: Report, page: Sheet) -> list[Line]:
    """Claims of the whole model that did not pass, the worst first, one line each."""
    findings = [
        one for section in report.sections for one in section.findings if one.layer is None and one.head is None
    ]
    found = sorted((one for one in findings if str(one.verdict) in _ORDER), key=_rank)
    lines = [_cut(verdict_line(one.verdict, f"{one.claim}: {one.reason}", page), 1, page)[0] for one in found[:_CLAIMS]]
    more = len(found) - _CLAIMS
    if more > 0:
        lines[-1] = line(f"{ellipsis(page.encoding)} and {more + 1} more: leave out --brief", "dim")
    return lines


def _rank(one: Finding) -> int:
    return _ORDER.index(str(one.verdict))


def _cut(lines: list[Line], most: int, page: Sheet) -> list[Line]:
    """The first lines; the last ends in an ellipsis where more would follow."""
    if len(lines) <= most:
        return lines
    dots = ellipsis(page.encoding)
    kept, last = lines[: most - 1], lines[most - 1]
    over = sum(len(part) for part, _ in last) + len(dots) + 1 - page.width
    text, look = last[-1]
    ended = (f"{text[: len(text) - max(0, over)].rstrip()} {dots}", look)
    return [*kept, (*last[:-1], ended)]


INDENT = " " * 10
NAMED = 6
"""Heads named under one finding; the others stand in the JSON document and in ``heedful heads``."""
_LOUD = ("FAIL", "ERROR")


def verdict_line(verdict: str, text: str, page: Sheet) -> list[Line]:
    """Return lines with the verdict's symbol and word, followed by ``text`` in an aligned column."""
    word = f"{mark(verdict, page.encoding)} {verdict:<6}"
    lines = paragraph(page.text(text), page.width, indent=INDENT, first=f"{word}  ")
    return [((word, style(verdict)), ("  ", ""), *lines[0][1:]), *lines[1:]]


def finding_lines(finding: Finding, page: Sheet) -> list[Line]:
    """Return all lines of a finding: claim, reason, evidence, named heads, and the meaning of the claim."""
    lines = verdict_line(finding.verdict, _subject(finding), page)
    lines += paragraph(page.text(finding.reason), page.width, indent=INDENT)
    evidence = flow((page.text(piece) for piece in _evidence(finding)), "  ", page.width - len(INDENT))
    lines += [((INDENT, ""), (row, "dim")) for row in evidence]
    lines += paragraph(page.text(_comparison(finding)), page.width, indent=INDENT, style="dim")
    lines += _named(finding, page)
    if finding.meaning and str(finding.verdict) != "SKIP":
        lines += paragraph(page.text(f"Meaning: {finding.meaning}"), page.width, indent=INDENT)
    return lines


def head_tally(findings: Sequence[Finding], page: Sheet) -> list[Line]:
    """Return lines that count the head verdicts of one claim and name every failed head."""
    if not findings:
        return []
    counts = Counter(str(finding.verdict) for finding in findings)
    tally = ", ".join(f"{counted} {verdict}" for verdict, counted in counts.most_common())
    lines = paragraph(f"{count(len(findings), 'head')}: {tally}", page.width, indent=INDENT)
    for verdict in _LOUD:
        names = [f"L{finding.layer}H{finding.head}" for finding in findings if finding.verdict == verdict]
        lines += _few(f"{verdict}:", names, page)
    return lines


def _subject(finding: Finding) -> str:
    return finding.claim if finding.layer is None else f"{finding.claim} (layer {finding.layer})"


def _evidence(finding: Finding) -> list[str]:
    pieces = [_estimate(finding.estimate, finding.unit)] if finding.estimate is not None else []
    if finding.interval is not None and not all(math.isnan(bound) for bound in finding.interval):
        pieces.append(interval(finding.interval))
    if finding.threshold is not None:
        pieces.append(margin(finding.threshold))
    return pieces + ([f"n = {finding.n}"] if finding.n else [])


def _estimate(value: float, unit: str) -> str:
    return "estimate undefined" if math.isnan(value) else quantity(value, unit)


def _comparison(finding: Finding) -> str:
    found = (("p", finding.p), ("adjusted p", finding.p_adjusted))
    pieces = [probability(name, value) for name, value in found if value is not None and not math.isnan(value)]
    return "; ".join(pieces + ([f"null: {finding.null}"] if finding.null else []))


def _named(finding: Finding, page: Sheet) -> list[Line]:
    named = finding.detail.get("named", ())
    if isinstance(named, str) or not isinstance(named, Sequence) or not named:
        return []
    return _few("heads:", [page.text(name) for name in named], page)


def _few(title: str, names: Sequence[str], page: Sheet) -> list[Line]:
    if not names:
        return []
    more = len(names) - NAMED
    shown = [f"{title} {names[0]}", *names[1:NAMED]] + (
        [f"{ellipsis(page.encoding)} and {more} more"] if more > 0 else []
    )
    return [((INDENT, ""), (row, "")) for row in listed(shown, page.width - len(INDENT))]
