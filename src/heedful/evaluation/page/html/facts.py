"""Collect the texts at the top and end of the HTML page: subject, settings, notes, omissions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from heedful.reporting.quantity import count

if TYPE_CHECKING:
    from heedful.evaluation.result import HeadRow, Report

QUESTIONS = {
    "correct": "Computed correctly?",
    "content_dependent": "Follows the text?",
    "concentrated": "Concentrated?",
    "useful": "Needed by the model?",
}
_ANSWERS = {"yes": ("\u2713", "good"), "no": ("\u25cb", "care")}
_COLUMNS = ("concentration", "effective_keys", "max_weight", "previous_mass", "sink_mass")


def answers(report: Report) -> list[tuple[str, str, str, str]]:
    """Return the four questions of the conclusion as (question, symbol, answer, CSS class)."""
    decision = report.summary.get("decision")
    if not isinstance(decision, Mapping):
        return []
    return [
        (question, *(_ANSWERS.get(str(decision[name]), ("?", "calm"))[:1]), str(decision[name]), _style(name, decision))
        for name, question in QUESTIONS.items()
        if name in decision
    ]


def _style(name: str, decision: Mapping[str, Any]) -> str:
    if name == "correct" and decision[name] == "no":
        return "bad"
    return _ANSWERS.get(str(decision[name]), ("?", "calm"))[1]


def headline(report: Report) -> list[tuple[str, str]]:
    """Return (label, text) pairs that state which model was validated on which text."""
    model, data = report.model, report.data
    sizes = [count(model[key], key[:-1]) for key in ("layers", "heads", "parameters") if _whole(model.get(key))]
    where = " on ".join(str(model[key]) for key in ("dtype", "device") if model.get(key))
    amount = [count(data[key], key[:-1]) for key in ("documents", "sequences", "tokens") if _whole(data.get(key))]
    preset, seconds = report.settings.get("preset"), report.run.get("seconds")
    messages = [f"preset {preset}"] if preset else []
    messages += [str(report.run["started"])] if report.run.get("started") else []
    messages += [f"{seconds:.0f} s"] if isinstance(seconds, int | float) else []
    found = [
        ("model", ", ".join(str(part) for part in (model.get("class"), *sizes, where) if part)),
        ("text", ", ".join([str(data.get("origin") or "unnamed"), *amount])),
        ("run", ", ".join(messages)),
    ]
    return [(label, text) for label, text in found if text]


def notes(report: Report) -> list[str]:
    """Return the remarks on model and text."""
    found = [*_texts(report.model.get("notes")), *_texts(report.data.get("notes"))]
    return list(dict.fromkeys(found))


def steps(report: Report) -> list[str]:
    """Return the suggestions on what to try next."""
    return _texts(report.summary.get("next"))


def tables(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return tables as (title, rows) with rows (name, value): model, text, settings, versions, and adjustment for
    multiple testing.
    """
    named = (
        ("Model", report.model),
        ("Text", report.data),
        ("Settings", report.settings),
        ("Versions", report.versions),
    )
    found = [(title, [row for name, value in values.items() for row in _flat(name, value)]) for title, values in named]
    how = report.summary.get("multiplicity")
    message = ", ".join(f"{key} {value}" for key, value in how.items()) if isinstance(how, Mapping) else str(how or "")
    tests = report.summary.get("tests")
    made = [("tests made", str(tests))] if isinstance(tests, int) else []
    return [*found, ("Multiplicity", [*made, *([("controlled by", message)] if message else [])])]


def head_columns() -> tuple[str, ...]:
    """Return the names of the statistics in the HTML page's plain head table."""
    return _COLUMNS


def head_cells(row: HeadRow) -> list[str]:
    """Return the numbers of one head for the plain head table, as text."""
    values = (row.statistics.get(name) for name in _COLUMNS)
    return ["-" if value is None or value != value else f"{value:.3g}" for value in values]


def _flat(name: str, value: Any) -> list[tuple[str, str]]:
    name = name.replace("_", " ")
    if isinstance(value, Mapping):
        return [row for key, part in value.items() for row in _flat(f"{name}.{key}", part)]
    if isinstance(value, bool) or value is None:
        return [(name, {True: "yes", False: "no", None: "not given"}[value])]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [(name, ", ".join(str(part) for part in value) or "none")]
    return [(name, f"{value:,}" if _whole(value) else f"{value:.6g}" if isinstance(value, float) else str(value))]


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(one) for one in value] if isinstance(value, Sequence) else []


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
