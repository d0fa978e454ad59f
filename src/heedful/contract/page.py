"""Render a contract report as text: promises with results, breaches with remedies, undecided promises.

Render a contract report as an HTML page and as JSON.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence

from heedful.contract.record import Breach, ContractReport, Judgement, Status
from heedful.reporting.escape import visible
from heedful.reporting.pages.part import Page, PagePart

WIDTH = 100
SHOWN_NAMES = 2
MOST = 6
"""Kinds of breach that are listed in full; of the others the number."""

ORDER = (
    "direction", "window", "chunk", "documents", "padding", "blocks", "mask", "rows", "positions", "finite",
    "scale", "softcap", "sink", "grouping", "qk_norm", "rotary", "alibi", "bias",
)  # fmt: skip


def lines(report: ContractReport) -> list[str]:
    """Return the report as terminal lines.

    Args:
        report: What a check found.

    Returns:
        Lines of text; data of the model and its tokens are escaped.
    """
    given = ", ".join(f"{name} {tuple(shape)}" for name, shape in report.batch.items())
    message = f" ({report.implementation})" if report.implementation else ""
    found = [visible(f"{report.model}{message} on {given}"), "", *_table(report)]
    found += breach_lines(report)
    found += ["", *capture_lines(report)] if report.proofs else []
    for title, rows in (("note", report.notes), ("not decided", report.undecided)):
        for row in rows:
            found += _wrapped(f"{title}: {row}")
    return [*found, "", sum_line(report)]


def breach_lines(report: ContractReport) -> list[str]:
    """Return lines on at most six kinds of breach, each with its first wrong pair and remedy."""
    groups: dict[tuple[str, str, str], list[Judgement]] = {}
    whole: dict[str, Judgement] = {}
    found: list[str] = []
    for one in report.broken:
        if one.path == "" and any(other.promise == one.promise for other in report.broken if other.path):
            whole[one.promise] = one
            continue
        remedy = "" if one.remedy is None else one.remedy.text
        groups.setdefault((one.promise, one.value, remedy if one.layer is None else ""), []).append(one)
    for every in list(groups.values())[:MOST]:
        found += ["", *_breach(every[0], report)]
        if len(every) > 1:
            found.append(f"  so too in {len(every) - 1} more: layers {_layers(every[1:])}")
        if every[0].promise in whole:
            found += _wrapped(f"behaviour of the whole model: {whole.pop(every[0].promise).found}", "  ")
    if len(groups) > MOST:
        found += ["", f"and {len(groups) - MOST} more kinds of breach"]
    return found


def promise_rows(report: ContractReport) -> list[tuple[str, ...]]:
    """Return table rows of promises and results; the first row holds the column names."""
    names = dict.fromkeys(one.promise for one in report.judgements)
    ordered = sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    rows = [("promise", "promised", "layers", "found", "proofs", "source")]
    for name in ordered:
        groups: dict[tuple[str, Status, str, str], list[Judgement]] = {}
        for one in report.of(name):
            found = one.found if one.status in (Status.BROKEN, Status.NOT_PROMISED) else ""
            key = one.value, one.status, one.source, found if one.status is Status.NOT_PROMISED else ""
            groups.setdefault(key, []).append(one)
        for (value, status, source, found), every in groups.items():
            shown = f"{status}: {found}" if found else str(status)
            rows.append((name, value, _layers(every), shown, _proofs(every), source))
    return list(rows)


def _table(report: ContractReport) -> list[str]:
    rows = promise_rows(report)
    widths = [max(len(row[place]) for row in rows) for place in range(5)]
    widths = [min(width, limit) for width, limit in zip(widths, (12, 34, 14, 40, 22), strict=True)]
    made = []
    for row in rows:
        cells = [_cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=False)]
        made.append(visible("  ".join([*cells, row[5]]).rstrip()))
    return made


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _layers(every: Sequence[Judgement]) -> str:
    """Layers of some judgements as ranges: ``0-3, 5``."""
    numbers = sorted({one.layer for one in every if one.layer is not None})
    if not numbers:
        return "all"
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)


def _proofs(every: Sequence[Judgement]) -> str:
    judged = (str(Status.HELD), str(Status.BROKEN))
    words = []
    for word, said in (("kernel", {one.kernel for one in every}), ("behaviour", {one.behaviour for one in every})):
        if said & set(judged):
            words.append(word)
    return " and ".join(words) or "-"


def _breach(one: Judgement, report: ContractReport) -> list[str]:
    breach = one.breach
    where = f"layer {one.layer} ({one.path})" if one.layer is not None else one.path or "the whole model"
    found = [visible(f"BROKEN {one.promise}: {where}")]
    if breach is not None:
        found += _wrapped(f"{_pair(breach, report)}promised: {breach.expected}; found: {breach.found}", "  ")
    if one.kernel != one.behaviour and one.kernel and one.behaviour:
        found += _wrapped(f"the proofs differ: kernel {one.kernel}, behaviour {one.behaviour}", "  ")
    if one.remedy is not None:
        found += _wrapped(f"remedy: {one.remedy.text}", "  ")
        found += [visible(f"    {line}") for line in one.remedy.code.splitlines()]
    return found


def _pair(breach: Breach, report: ContractReport) -> str:
    words = []
    for name, value in (("row", breach.sequence), ("head", breach.head)):
        if value is not None:
            words.append(f"{name} {value}")
    for name, value, token in zip(("query", "key"), (breach.query, breach.key), breach.tokens, strict=True):
        if value is not None:
            text = report.tokens.get(token) if token is not None else None
            message = "" if token is None else f" (token {token}{'' if text is None else f' {text!r}'})"
            words.append(f"{name} {value}{message}")
    return f"{', '.join(words)}: " if words else ""


def _wrapped(text: str, indent: str = "") -> list[str]:
    whole = visible(text)
    return textwrap.wrap(whole, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False)


def capture_lines(report: ContractReport) -> list[str]:
    """Return lines on the captured modules, and on modules not captured, grouped by reason."""
    captured = [proof for proof in report.proofs if proof.way]
    ways = ", ".join(dict.fromkeys(proof.way for proof in captured))
    asked = any(proof.replaced or proof.moved == proof.moved for proof in captured)
    again = sum(proof.recomputed for proof in captured)
    proved = f"{report.proved} proved both ways" if asked else f"{again} computed again"
    found = _wrapped(f"capture: {len(captured)} of {len(report.proofs)} modules captured ({ways or 'none'}), {proved}")
    reasons: dict[str, list[str]] = {}
    for proof in report.proofs:
        for why, name in ((proof.reason, proof.path or "(the model itself)"), (proof.note, proof.way)):
            if why:
                reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        who = list(dict.fromkeys(names))
        more = f" and {len(who) - SHOWN_NAMES} more" if len(who) > SHOWN_NAMES else ""
        found += _wrapped(f"{', '.join(who[:SHOWN_NAMES])}{more}: {why}", "  ")
    return found


def sum_line(report: ContractReport) -> str:
    """Return one line with the number of promises by status and the cost of the check; each promise has its worst
    status over all modules.
    """
    promises = dict.fromkeys(one.promise for one in report.judgements)
    counts = dict.fromkeys(Status, 0)
    for name in promises:
        every = {one.status for one in report.of(name)}
        worst = next(status for status in _WORST if status in every)
        counts[worst] += 1
    message = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{message}; {report.forwards} forwards, {report.seconds:.1f} s"


_WORST = (
    Status.BROKEN, Status.CONTRADICTION, Status.HELD, Status.NOT_DECIDABLE, Status.NOT_EXERCISED, Status.NOT_PROMISED,
)  # fmt: skip


def contract_page(report: ContractReport) -> Page:
    """Build the page in four sections: promises, breaches, capture, undecided.

    Args:
        report: What a check found.
    """
    given = ", ".join(f"{name} {tuple(shape)}" for name, shape in report.batch.items())
    header, *rows = promise_rows(report)
    parts = [PagePart(title="Promises", text=sum_line(report), header=header, rows=rows)]
    breaches = breach_lines(report)
    if breaches:
        parts.append(PagePart(title="Breaches", text=" ".join(" ".join(breaches).split())))
    if report.proofs:
        parts.append(PagePart(
            title="Capture",
            text=" ".join(" ".join(capture_lines(report)).split()),
            header=("module", "interceptor", "heads", "relative error", "recomputed", "reaches the model"),
            rows=[
                (one.path or "the model", one.way or "not captured", str(one.heads), f"{one.error:.1e}",
                 "yes" if one.recomputed else "no", "yes" if one.replaced else "no")
                for one in report.proofs
            ],
        ))  # fmt: skip
    rest = [*(f"note: {one}" for one in report.notes), *report.undecided]
    if rest:
        parts.append(PagePart(title="Not decided", text=" ".join(f"{one.rstrip('.')}." for one in rest)))
    name = f"{report.model} ({report.implementation})" if report.implementation else report.model
    return Page(title="Attention contract", subject=f"{name} on {given}", parts=parts)


def contract_json(report: ContractReport) -> str:
    """Return the report as JSON text that ends with a newline; undefined values are null.

    Args:
        report: What a check found.
    """
    return json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n"
