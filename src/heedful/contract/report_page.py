"""Render a contract report as an HTML page and as JSON."""

from __future__ import annotations

import json

from heedful.contract.page import breach_lines, capture_lines, promise_rows, sum_line
from heedful.contract.record import ContractReport
from heedful.reporting.pages.part import Page, PagePart


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
