"""Answers stored with the package: one JSON document per note, written by ``python -P -m reproductions.answering``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from importlib import resources
from pathlib import Path
from typing import Any

from heedful.errors import InputRejected
from heedful.evaluation.result import Finding
from heedful.inference.verdict import Verdict
from heedful.reporting.json_values import document_text, json_value
from heedful.reporting.write import write_atomic
from reproductions.answer import Answer
from reproductions.judging import Answered
from reproductions.notes import NOTES

SCHEMA = "heedful.claims/1"
FOLDER = "answers"
_PLAIN = ("name", "note", "section", "sentence", "figure")


def stored_answers(folder: Path | None = None) -> list[Answered]:
    """Return the stored answers, in the order of notes and claims.

    Args:
        folder: Where they are; None for those of the package.

    Raises:
        InputRejected: A file there is none of this schema.
    """
    place = resources.files("reproductions").joinpath(FOLDER) if folder is None else folder
    found = []
    for note in NOTES:
        file = place.joinpath(f"{note}.json")
        if file.is_file():
            found += _read(f"{note}.json", file.read_text(encoding="utf-8"))
    return found


def write_answers(answers: Iterable[Answered], folder: Path) -> list[Path]:
    """Write one JSON document per note, and return the paths.

    Args:
        answers: All answers of the notes that occur among them.
        folder: Where.

    Returns:
        The files.

    Raises:
        OutputError: One could not be written.
    """
    by_note: dict[str, list[Answered]] = {}
    for one in answers:
        by_note.setdefault(one.note, []).append(one)
    written = []
    for note, its in sorted(by_note.items()):
        path = folder / f"{note}.json"
        write_atomic(path, document_text(claims_document(its)), overwrite=True)
        written.append(path)
    return written


def claims_document(answers: Sequence[Answered]) -> dict[str, Any]:
    """Return the answers as a JSON-compatible dict.

    Args:
        answers: The answers.
    """
    claims = []
    for index, one in enumerate(answers):
        plain = {name: getattr(one, name) for name in _PLAIN} | {"answer": str(one.answer)}
        findings = [_plain_finding(finding, f"$.claims[{index}]") for finding in one.findings]
        claims.append(plain | {"findings": findings})
    return {"schema": SCHEMA, "claims": claims}


def _plain_finding(finding: Finding, path: str) -> dict[str, Any]:
    """Fields that say something: a default says nothing, and a threshold of 0 is none."""
    kept = {
        field.name: value
        for field, value in zip(fields(finding), asdict(finding).values(), strict=True)
        if field.name == "estimate" or (value != field.default and value != {})
    }
    plain: dict[str, Any] = json_value(kept, path, [])
    return plain


def _read(name: str, text: str) -> list[Answered]:
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']!r}")
        return [_answered(one) for one in document["claims"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputRejected(name, f"expected answers of schema {SCHEMA} ({error})", "write them again") from error


def _answered(one: Mapping[str, Any]) -> Answered:
    findings = tuple(_finding(finding) for finding in one["findings"])
    return Answered(**{name: one[name] for name in _PLAIN}, answer=Answer(one["answer"]), findings=findings)


def _finding(one: Mapping[str, Any]) -> Finding:
    given = dict(one) | {"verdict": Verdict(one["verdict"])}
    if "interval" in given:
        low, high = given["interval"]
        given["interval"] = (float(low), float(high))
    return Finding(**given)
