"""One line of the table, and what stands behind it."""

from __future__ import annotations

import re

from architectures.compared import base
from architectures.proofs import Found

MOST = 2
"""Remarks of one row at most."""

FIGURES = re.compile(r" by \d\.\d+e[-+]\d+")
"""Sizes of errors, which another machine rounds otherwise."""


def row(found: Found) -> str:
    """One line of the table."""
    if found.skipped:
        return f"| {found.name} | - | - | - | - | - | - | skipped: needs {found.skipped} |"
    if found.error:
        return f"| {found.name} | - | - | - | - | - | - | {found.error} |"
    cells = [
        found.name,
        ", ".join(found.ways) or "not met",
        f"{len(found.met)} of {len(found.attending)}",
        f"{found.measured} of {found.entered}",
        _equal(found),
        _padded(found),
        _replaced(found),
        "; ".join(FIGURES.sub("", remark) for remark in found.remarks[:MOST]),
    ]
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _equal(found: Found) -> str:
    messages = [path for path in found.equal if base(path) in found.met]
    if not messages:
        return "not returned" if found.met else "-"
    good = f"{sum(not found.equal[path] for path in messages)} of {len(messages)}"
    others = [name for name in found.shown if name != "returned"]
    return f"{good} ({', '.join(others)})" if others else good


def _padded(found: Found) -> str:
    if not found.met:
        return "-"
    if not found.sides:
        return "no mask"
    return f"{sum(not wrong for wrong in found.padded.values())} of {len(found.padded)} {', '.join(found.sides)}"


def _replaced(found: Found) -> str:
    if not found.met:
        return "-"
    messages = [found.first_head[path] for path in found.met if found.first_head.get(path) is not None]
    moved = sum(path in found.moved for path in found.met)
    return f"{moved} of {len(found.met)}, head 0 alone {sum(map(bool, messages))} of {len(messages)}"


def details(found: Found) -> list[str]:
    """What is wrong, a line each."""
    lines = [f"    silently wrong: {path}" for path in found.wrong]
    lines += [f"    not verified: {path}" for path in found.doubted]
    for name, paths in (("equal", found.equal), ("padded", found.padded)):
        for path, wrong in paths.items():
            if wrong:
                lines.append(f"    {name} {path}: ours and its: {'; '.join(list(dict.fromkeys(wrong))[:6])}")
    lines += [f"    not moved: {path}" for path in found.first_head if path not in found.moved]
    lines += [f"    head 0: {path}: {message}" for path, message in found.first_head.items() if message is not True]
    return lines
