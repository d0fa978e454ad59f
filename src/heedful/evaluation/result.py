"""Records of a validation: finding, section, head row, report.

Records for head cards: for each head, a picture of its attention weights on one document, its attention mass by
distance, and the keys with the most weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from heedful.inference.verdict import Verdict
from heedful.reporting.shown_record import ShownRecord, counted
from heedful.showing import drawing


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One claim with its verdict and all evidence for it.

    Attributes:
        claim: Registry name of the check, a claim that can be false.
        verdict: The answer.
        estimate: Effect size in ``unit``; None where undefined.
        interval: 95 % interval of the estimate, or None.
        unit: Unit of estimate, interval and threshold ("nat", "mass", "ratio", "nat/token", ...).
        n: Number of independent units (documents) behind the estimate.
        null: What the estimate was compared with, in words.
        p: Unadjusted p-value against that null, or None.
        p_adjusted: Holm-adjusted p over the claim's family, or None.
        threshold: Margin that the verdict used, or None.
        source: Where definition and margin come from.
        layer: Layer index, or None for the whole model.
        head: Head index, or None for the whole layer or model.
        reason: One sentence that says why this verdict.
        detail: Further numbers of this claim, JSON-able; not part of the verdict.
        units: The value of each document behind the estimate, in the order of the report's ``document_fingerprints``,
            None where a document has none; None for findings that are no mean over documents.
        definition: Version of the claim's definition, counted from 1 (``CheckFacts.definition``).
        meaning: What the claim means for a reader, in one sentence, on findings about the whole model; "" on others.
    """

    claim: str
    verdict: Verdict
    reason: str
    estimate: float | None = None
    interval: tuple[float, float] | None = None
    unit: str = ""
    n: int = 0
    null: str = ""
    p: float | None = None
    p_adjusted: float | None = None
    threshold: float | None = None
    source: str = ""
    layer: int | None = None
    head: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    units: Sequence[float | None] | None = None
    definition: int = 1
    meaning: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One of the nine sections of a report."""

    number: int
    title: str
    findings: Sequence[Finding]


@dataclass(frozen=True, kw_only=True)
class HeadRow:
    """One row of the head table: statistics, pattern and verdict of one head.

    Attributes:
        layer: Layer index in the order in which the model called its attention.
        module: Path of the attention module in the model.
        head: Head index within the module.
        label: Name the model gives the head (an irrep, say), else ``L0H0``.
        verdict: SHARP, SELECTIVE, WEAK, DIFFUSE or UNDEFINED.
        pattern: Named pattern ("previous token", "offset -3", "first key", "dormant sink", "induction", "local") or "".
        statistics: Statistic name to mean over judged rows; NaN where undefined.
        reason: Why the verdict, in one sentence.
    """

    layer: int
    module: str
    head: int
    label: str
    verdict: str
    pattern: str
    statistics: Mapping[str, float]
    reason: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class Report(ShownRecord):
    """Result of a validation. Field names are those of the JSON schema ``heedful.report/1``.

    Attributes:
        verdict: PASS, FAIL or WARN for the whole model.
        model: What was validated: name, class, architecture, parameters, layers, heads, dtype, device.
        data: Text, documents, sequences, tokens.
        settings: Every option that shaped the numbers, seed included.
        versions: heedful, torch, transformers, Python.
        sections: The nine sections in order.
        heads: One row a head.
        not_measured: What was not reached or not understood: ``{"what": ..., "why": ...}``.
        summary: Counts per verdict, multiplicity, the decision cell, the conclusion and what to try next.
        run: Times; the only part that differs between two equal runs.
        cards: Further evidence on each head, gathered where it was asked for.
    """

    html_by: ClassVar[str] = "heedful.evaluation.page.html.page:to_html"
    json_by: ClassVar[str] = "heedful.evaluation.page.json_document:to_json"

    verdict: Verdict
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    sections: Sequence[Section]
    heads: Sequence[HeadRow]
    not_measured: Sequence[Mapping[str, str]]
    summary: Mapping[str, Any]
    run: Mapping[str, Any] = field(default_factory=dict)
    cards: Cards | None = None

    def one_line(self) -> str:
        """Return one line with the verdict, the model, and the numbers of claims and heads."""
        claims = sum(one.layer is None and one.head is None for section in self.sections for one in section.findings)
        name = self.model.get("name") or "unnamed"
        return f"{self.verdict}: {name}, {counted(claims, 'claim')}, {counted(len(self.heads), 'head')}"

    def _repr_html_(self) -> str:
        """The report as a notebook shows it, drawn by what `showing` names: records know no room above."""
        return str(drawing("report_html")(self))


SHADES = 15
"""Shades of a picture, 1 to 15; 0 is a bin in which no query sees a key."""

LEAST_SHARE = 1 / 16
"""Weight over the weight that uniform attention would place there, at and below which a bin has the first shade."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Attention weights of one head on one document, averaged in a grid of query and key bins.

    The shade of a bin is the mean weight of its visible pairs over the weight that uniform attention gives them, on a
    logarithmic scale from ``LEAST_SHARE`` (shade 1) to the number of columns (shade ``SHADES``), which is the most that
    one bin can hold.

    Attributes:
        rows: Bins of queries, at most 256.
        columns: Bins of keys, at most 256.
        shades: One byte a bin, row after row, deflated by zlib and written in base64.
    """

    rows: int
    columns: int
    shades: str


@dataclass(frozen=True, kw_only=True)
class Strongest:
    """The keys to which one query of the pictured document gives the most weight.

    Attributes:
        query: Position of the query; None where the weights are means over all queries of the document.
        keys: Positions, heaviest first.
        weights: Their weights.
    """

    query: int | None
    keys: Sequence[int]
    weights: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class HeadCard:
    """Card of one head: picture of its weights on one document, attention mass by distance, keys with the most weight,
    and statistics of untrained heads.

    Attributes:
        layer: Layer index.
        head: Head index within the module.
        picture: Its weights on the pictured document; None where they are not finite.
        distance: Mean mass by distance over documents with its 95 % interval, ``(estimate, low, high)`` a bin.
        uniform: What uniform attention over the same rows would have there.
        received: The keys that receive most of the pictured document's attention, as a share of all of it.
        strongest: The heaviest keys of a few queries.
        untrained: Statistic to ``(smallest, mean, largest)`` over heads that have learned nothing.
        keys_are_tokens: Whether key positions are positions of the document's own tokens.
    """

    layer: int
    head: int
    picture: Picture | None
    distance: Sequence[tuple[float, float, float]]
    uniform: Sequence[float]
    received: Strongest | None
    strongest: Sequence[Strongest]
    untrained: Mapping[str, tuple[float, float, float]]
    keys_are_tokens: bool = True


@dataclass(frozen=True, kw_only=True)
class Cards:
    """Cards of all heads, with the name, length and tokens of the document that their pictures show.

    Attributes:
        document: Its name.
        length: Its tokens.
        tokens: Position to the text of the token there, for every position of a short document, else for
            those that a card names; text is data.
        distances: Names of the distance bins: ``0``, ``1``, ``2-3`` ...
        heads: One card a head, in the order of the head table.
    """

    document: str
    length: int
    tokens: Mapping[int, str]
    distances: Sequence[str]
    heads: Sequence[HeadCard]
