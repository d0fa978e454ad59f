"""Records of a comparison: changes, their uncertainty, and which ones are regressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from heedful.evaluation.result import Finding
from heedful.reporting.shown_record import ShownRecord, counted

FAIL_ON = ("verdict", "fail", "effect", "never")
"""Rules by which a comparison fails: a verdict lost, a new failure, an effect smaller by its margin, or nothing."""


DEFINITION_CHANGED = "DEFINITION CHANGED"


def redefined(before: Finding | None, after: Finding | None) -> bool:
    """Return whether two findings of one claim use different definitions of the claim."""
    return before is not None and after is not None and before.definition != after.definition


@dataclass(frozen=True, kw_only=True)
class FindingChange:
    """One claim about the model or a layer, in two reports.

    Attributes:
        claim: Registry name.
        section: Number of its section.
        layer: Layer index, or None for the whole model.
        before: The finding of the first report, or None.
        after: That of the second, or None.
        difference: Second estimate less the first, in ``unit``; None where one of them is missing.
        interval: 95 % interval of the difference; None where there is none.
        unit: Unit of both estimates.
        n: Documents behind the interval: pairs, or the smaller of the two numbers where they are not paired.
        paired: Whether the interval is that of differences within documents.
        p: Two-sided p of no difference.
        p_adjusted: The same by Holm over all that is compared.
        within: Largest difference that counts as none; None where the claim has no such margin.
        p_equivalent: p of a difference as large as that, by Holm over all that is compared.
        equivalence: EQUIVALENT, DIFFERENT or NOT SETTLED; None where nothing was tested.
        margin: Size of a difference that counts, from the finding's own margin; None where it has none.
        reason: Why there is no interval, or why it is not paired; empty otherwise.
        regressions: Rules of ``FAIL_ON`` that this change breaks.
    """

    claim: str
    section: int
    layer: int | None
    before: Finding | None
    after: Finding | None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    unit: str = ""
    n: int = 0
    paired: bool = False
    p: float | None = None
    p_adjusted: float | None = None
    within: float | None = None
    p_equivalent: float | None = None
    equivalence: str | None = None
    margin: float | None = None
    reason: str = ""
    regressions: tuple[str, ...] = ()

    @property
    def verdicts(self) -> tuple[str, str]:
        """Both verdicts as words; ``-`` if a report has no such finding."""
        before, after = ("-" if one is None else str(one.verdict) for one in (self.before, self.after))
        return before, after

    @property
    def changed(self) -> bool:
        """Whether the verdict changed."""
        return self.verdicts[0] != self.verdicts[1]

    @property
    def redefined(self) -> bool:
        """Whether the two reports define the claim differently, so that results are not comparable."""
        return redefined(self.before, self.after)


@dataclass(frozen=True, kw_only=True)
class HeadChange:
    """One head in the head tables of two reports.

    Attributes:
        module: Path of the attention module.
        layer: Layer index.
        head: Head index.
        label: Name of the head.
        verdicts: SHARP ... DIFFUSE in the first and the second report.
        patterns: Named pattern in each; "" for none.
        differences: Statistic to second value less the first; NaN where undefined.
    """

    module: str
    layer: int
    head: int
    label: str
    verdicts: tuple[str, str]
    patterns: tuple[str, str]
    differences: Mapping[str, float]

    @property
    def changed(self) -> bool:
        """Whether the head's verdict or pattern changed."""
        return self.verdicts[0] != self.verdicts[1] or self.patterns[0] != self.patterns[1]


@dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(ShownRecord):
    """Result of comparing two reports.

    Attributes:
        names: What the first and the second report call their model.
        verdicts: Verdicts of both reports.
        context: What differs besides the results: ``(what, first, second)``.
        pairing: One sentence on how the documents of both were paired.
        findings: Claims of the model, then those of layers.
        head_verdicts: Claim to the number of heads whose verdict on it changed, and of heads compared.
        heads: Heads that are in both head tables.
        heads_reason: Why heads were not compared, or what to know about it; empty otherwise.
        fail_on: Rules that were asked for.
        regressions: One sentence for each regression under these rules.
        settings: Level, seed, tolerance and margins of equivalence.
    """

    html_by: ClassVar[str] = "heedful.comparison.page_document:comparison_html"
    json_by: ClassVar[str] = "heedful.comparison.page_document:comparison_json"

    names: tuple[str, str]
    verdicts: tuple[str, str]
    context: Sequence[tuple[str, str, str]]
    pairing: str
    findings: Sequence[FindingChange]
    head_verdicts: Mapping[str, tuple[int, int]]
    heads: Sequence[HeadChange]
    heads_reason: str
    fail_on: tuple[str, ...]
    regressions: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether a rule of ``fail_on`` is broken."""
        return bool(self.regressions)

    def one_line(self) -> str:
        """Return one line with both models, their verdicts, and the number of regressions."""
        before, after = (f"{name} {verdict}" for name, verdict in zip(self.names, self.verdicts, strict=True))
        return f"{before} -> {after}, {counted(len(self.regressions), 'regression')}"
