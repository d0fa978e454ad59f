"""Render the top and end of the terminal page: subject, unmeasured modules, counts, conclusion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heedful.evaluation.page.finding_lines import verdict_line
from heedful.reporting.marks import VERDICTS, mark, style
from heedful.reporting.paragraph import BLANK, Line, Sheet, flow, line, listed, paragraph
from heedful.reporting.quantity import count

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
