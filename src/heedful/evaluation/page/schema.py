"""Typed dicts that define the report document; the shipped JSON Schema is generated from them.

Write it anew after a change of a field::

    python -P -m heedful.evaluation.page.schema > src/heedful/evaluation/page/schema/heedful.report.1.json

This file imports pydantic and is itself imported only where a document is read or its schema written.
"""

from __future__ import annotations

import json
import sys
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from heedful.evaluation.page.json_document import SCHEMA
from heedful.inference.verdict import Verdict

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILE = "heedful.report.1.json"

LARGEST_COUNT = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exactly."""

Number = Annotated[float, Field(allow_inf_nan=False)]
Index = Annotated[int, Field(ge=0, le=2**31 - 1)]
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Three = tuple[Number | None, Number | None, Number | None]
Free = dict[str, Any]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class FindingDocument(_Record):
    """JSON form of a finding: one claim, its verdict and all evidence for it."""

    claim: str = Field(min_length=1, description="Name of the check: a claim that can be false.")
    verdict: Verdict
    estimate: Number | None = Field(description="Effect size in unit; null where undefined.")
    interval: tuple[Number | None, Number | None] | None = Field(description="95 % interval of the estimate.")
    unit: str = Field(description="Unit of estimate, interval and threshold.")
    n: Count = Field(description="Independent units (documents) behind the estimate.")
    null: str = Field(description="What the estimate was compared with, in words.")
    p: Number | None = Field(description="Unadjusted p-value against that null.")
    p_adjusted: Number | None = Field(description="p-value adjusted over the claim's family.")
    threshold: Number | None = Field(description="Margin that the verdict used.")
    source: str = Field(description="Where definition and margin come from.")
    layer: Index | None = Field(description="Layer index; null for the whole model.")
    head: Index | None = Field(description="Head index; null for the whole layer or model.")
    reason: str = Field(description="One sentence that says why this verdict.")
    detail: Free = Field(description="Further numbers of this claim; not part of the verdict.")
    units: list[Number | None] | None = Field(
        default=None, description="Value of each document, in the order of data.document_fingerprints; null where none."
    )
    definition: int = Field(
        default=1,
        ge=1,
        description="Version of the claim's definition; reports of different versions are not compared.",
    )
    meaning: str = Field(default="", description="What the claim means for a reader, in one sentence.")


class SectionDocument(_Record):
    """JSON form of one of the nine sections."""

    number: int = Field(ge=1, le=9)
    title: str
    findings: list[FindingDocument]


class HeadDocument(_Record):
    """JSON form of one row of the head table."""

    layer: Index = Field(description="Index in the order in which the model called its attention.")
    module: str = Field(description="Path of the attention module in the model.")
    head: Index
    label: str = Field(description="Name the model gives the head, else L0H0.")
    verdict: str = Field(description="SHARP, SELECTIVE, WEAK, DIFFUSE or UNDEFINED.")
    pattern: str = Field(description="Named pattern, or empty.")
    statistics: dict[str, Number | None] = Field(description="Mean over judged rows; null where undefined.")
    reason: str


class PictureDocument(_Record):
    """JSON form of a head's picture: weights on one document, averaged in bins, as shades of log(weight / uniform)."""

    rows: int = Field(ge=1, le=256, description="Bins of queries.")
    columns: int = Field(ge=1, le=256, description="Bins of keys.")
    shades: str = Field(
        max_length=120_000,
        pattern=r"^[A-Za-z0-9+/]*={0,2}$",
        description="A byte from 0 (unseen) to 15 a bin, row after row; zlib, base64.",
    )


class StrongestDocument(_Record):
    """JSON form of the keys with the most weight, for one query or over all queries."""

    query: Index | None = Field(description="Position of the query; null where weights are means over all queries.")
    keys: list[Index]
    weights: list[Number | None]


class HeadCardDocument(_Record):
    """JSON form of one head card."""

    layer: Index
    head: Index
    picture: PictureDocument | None
    distance: list[Three] = Field(description="Mass by distance with its 95 % interval: estimate, low, high a bin.")
    uniform: list[Number | None] = Field(description="What uniform attention over the same rows would have there.")
    received: StrongestDocument | None = Field(description="Keys that receive most, as a share of all attention.")
    strongest: list[StrongestDocument]
    untrained: dict[str, Three] = Field(description="Smallest, mean, largest over draws of the null, a statistic each.")
    keys_are_tokens: bool = Field(description="Whether key positions are positions of the document's own tokens.")


class CardsDocument(_Record):
    """JSON form of all head cards, with the name, length and tokens of the document that their pictures show."""

    document: str
    length: Index = Field(description="Tokens of the document.")
    tokens: dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], str] = Field(description="Position to token text.")
    distances: list[str] = Field(description="Names of the distance bins.")
    heads: list[HeadCardDocument]


class ReportDocument(_Record):
    """JSON form of a report."""

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
    cards: CardsDocument | None = Field(default=None, description="Evidence on each head, where it was asked for.")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a report, generated from the types in this module."""
    return {"$schema": DIALECT, "$id": f"urn:{SCHEMA.replace('/', ':')}", **ReportDocument.model_json_schema()}


def schema_text() -> str:
    """Return the JSON Schema as the text that is shipped with the package."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"


def shipped_schema() -> str:
    """Return the text of the JSON Schema file in the installed package."""
    return resources.files("heedful.evaluation.page").joinpath("schema", FILE).read_text(encoding="ascii")


if __name__ == "__main__":
    sys.stdout.write(schema_text())
