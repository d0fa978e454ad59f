"""The shape of a report document, from which the shipped JSON Schema comes.

Write it anew after a change of a field::

    python -m heedful.report.schema > src/heedful/report/schema/heedful.report.1.json

This file imports pydantic and is itself imported only where a document is read or its schema written.
"""

from __future__ import annotations

import json
import sys
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from heedful.core.result import Verdict
from heedful.report.json_document import SCHEMA

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILE = "heedful.report.1.json"

Number = Annotated[float, Field(allow_inf_nan=False)]
Free = dict[str, Any]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class FindingDocument(_Record):
    """One claim, its verdict, and everything needed to disagree with it."""

    claim: str = Field(min_length=1, description="Name of the check: a claim that can be false.")
    verdict: Verdict
    estimate: Number | None = Field(description="Effect size in unit; null where undefined.")
    interval: tuple[Number | None, Number | None] | None = Field(description="95 % interval of the estimate.")
    unit: str = Field(description="Unit of estimate, interval and threshold.")
    n: int = Field(ge=0, description="Independent units (documents) behind the estimate.")
    null: str = Field(description="What the estimate was compared with, in words.")
    p: Number | None = Field(description="Unadjusted p-value against that null.")
    p_adjusted: Number | None = Field(description="p-value adjusted over the claim's family.")
    threshold: Number | None = Field(description="Margin that the verdict used.")
    source: str = Field(description="Where definition and margin come from.")
    layer: int | None = Field(description="Layer index; null for the whole model.")
    head: int | None = Field(description="Head index; null for the whole layer or model.")
    reason: str = Field(description="One sentence that says why this verdict.")
    detail: Free = Field(description="Further numbers of this claim; not part of the verdict.")
    units: list[Number | None] | None = Field(
        default=None, description="Value of each document, in the order of data.document_fingerprints; null where none."
    )


class SectionDocument(_Record):
    """One of the nine sections."""

    number: int = Field(ge=1, le=9)
    title: str
    findings: list[FindingDocument]


class HeadDocument(_Record):
    """One head's row of the head table."""

    layer: int = Field(ge=0, description="Index in the order in which the model called its attention.")
    module: str = Field(description="Path of the attention module in the model.")
    head: int = Field(ge=0)
    label: str = Field(description="Name the model gives the head, else L0H0.")
    verdict: str = Field(description="SHARP, SELECTIVE, WEAK, DIFFUSE or UNDEFINED.")
    pattern: str = Field(description="Named pattern, or empty.")
    statistics: dict[str, Number | None] = Field(description="Mean over judged rows; null where undefined.")
    reason: str


class ReportDocument(_Record):
    """Everything one validation found."""

    schema_: Literal["heedful.report/1"] = Field(alias="schema")
    verdict: Verdict
    model: Free = Field(description="What was validated.")
    data: Free = Field(description="Text, documents, sequences, tokens.")
    settings: Free = Field(description="Every option that shaped the numbers, seed included.")
    versions: dict[str, str]
    sections: list[SectionDocument]
    heads: list[HeadDocument]
    not_measured: list[dict[str, str]] = Field(description="What was not reached or not understood, and why.")
    summary: Free = Field(description="Counts, multiplicity, conclusion, what to try next, paths of lost numbers.")
    run: Free = Field(description="Times: the only part that differs between two equal runs.")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a report, made from the records above."""
    return {"$schema": DIALECT, "$id": f"urn:{SCHEMA.replace('/', ':')}", **ReportDocument.model_json_schema()}


def schema_text() -> str:
    """The JSON Schema as it is shipped."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"


def shipped_schema() -> str:
    """The text of the shipped file."""
    return resources.files("heedful.report").joinpath("schema", FILE).read_text(encoding="ascii")


if __name__ == "__main__":
    sys.stdout.write(schema_text())
