"""Section 8: do the belief tables get a gradient through the attention weights?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.gauge.evidence_beliefs import belief_tables
from heedful.gauge.evidence_table_gradient import SEQUENCES, TableGradient, table_gradients
from heedful.inference.verdict import Verdict

SOURCE = "backwards of the loss as it is and with attention's weights constant; what goes is what came through them"

MERE_COORDINATES = 1e-3
"""Share below which what frames get is their means' own gradient, but for rounding."""


@check(
    section=8,
    source=SOURCE,
    meaning="If a table's gradient does not pass through the weights, the model learns around attention.",
)
def tables_learn_through_attention(study: Study) -> list[Finding]:
    """Every trained belief table affects the attention weights, and through them the loss.

    The share of a table is the norm of the gradient that goes once weights are constants, over the norm of the whole
    gradient. Skipped where there are no tables of beliefs.
    """
    if belief_tables(study.model) is None:
        return [_without(Verdict.SKIP, "the model has no tables of beliefs")]
    if study.objective.name == "none":
        return [_without(Verdict.SKIP, study.objective.reason)]
    tables = table_gradients(study)
    live, frozen = [t for t in tables if not t.frozen], [t.name for t in tables if t.frozen]
    if not live:
        return [_without(Verdict.SKIP, f"all {len(frozen)} tables are frozen")]
    bad = [table.name for table in live if not math.isfinite(table.norm)]
    known = [table for table in live if math.isfinite(table.through)]
    if not known and not bad:
        return [_without(Verdict.UNDEFINED, "the loss gives no table a gradient")]
    outside = [table.name for table in live if not table.through > 0 and table.name not in bad]
    first = f"not finite: {', '.join(map(_short, bad))}; " if bad else ""
    first += f"past attention alone, or not at all: {', '.join(map(_short, outside))}; " if outside else ""
    index = study.sequences.document[:SEQUENCES].unique()
    return [
        Finding(
            claim="tables_learn_through_attention",
            verdict=Verdict.FAIL if bad else Verdict.ABSENT if outside else Verdict.PASS,
            reason=f"{first}share through weights: {_shares(known)}{_of_frames(known)}{_fixed(frozen)}",
            estimate=(len(live) - len(outside) - len(bad)) / len(live),
            unit="share of tables",
            n=len(index),
            null="exact: 1",
            threshold=1.0,
            source=SOURCE,
            detail={
                "norms": {t.name: t.norm for t in live if math.isfinite(t.norm)},
                "through": {t.name: t.through for t in known},
                "ranges": {t.name: list(t.range) for t in known},
                "not_of_means": {t.name: t.own for t in known if t.own == t.own},
                "frozen": frozen,
            },
        )
    ]


def _without(verdict: Verdict, reason: str) -> Finding:
    return Finding(claim="tables_learn_through_attention", verdict=verdict, reason=reason, source=SOURCE)


def _shares(tables: Sequence[TableGradient]) -> str:
    return ", ".join(f"{_short(t.name)} {t.through:.0%} of norm {t.norm:.2g}" for t in tables)


def _of_frames(tables: Sequence[TableGradient]) -> str:
    """How much of what tokens' frames get through the weights their means do not get as well."""
    messages = [table.own for table in tables if table.own == table.own]
    if not messages:
        return ""
    if messages[0] < MERE_COORDINATES:
        return "; tokens' frames get nothing there that is not their means' gradient in other coordinates"
    return f"; of what tokens' frames get there, {messages[0]:.0%} is not their means' gradient in other coordinates"


def _fixed(names: Sequence[str]) -> str:
    if not names:
        return ""
    return "; fixed: " + ", ".join(map(_short, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _short(name: str) -> str:
    """A parameter's name without what all tables share."""
    return name.removeprefix("model.").removeprefix("beliefs.").removesuffix(".weight")
