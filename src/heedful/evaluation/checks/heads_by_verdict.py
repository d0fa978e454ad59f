"""Section 5: which heads are sharp, selective, weak or diffuse?"""

from __future__ import annotations

from collections import Counter

from heedful.evaluation.heads import could_be_selective, head_table
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict

SOURCE = (
    "nats from uniform by whole intervals: selective above 0.5, diffuse below 0.05; "
    "sharp: largest weight above 0.5 or at most 4 keys"
)
NAMES = ("SHARP", "SELECTIVE", "WEAK", "DIFFUSE", "UNDEFINED")


@check(
    section=5,
    source=SOURCE,
    definition=2,
    meaning="Counts how many heads select a few keys; a model whose heads are all diffuse selects nothing.",
)
def heads_by_verdict(study: Study) -> list[Finding]:
    """At least one head is classified as sharp or selective; the head table lists the class of each head."""
    counts = Counter(row.verdict for row in head_table(study))
    total = sum(counts.values())
    strong = counts["SHARP"] + counts["SELECTIVE"]
    shown = f"{total} heads: " + ", ".join(f"{counts[name]} {name}" for name in NAMES if counts[name])
    open_heads = could_be_selective(study)
    if counts["UNDEFINED"] == total:
        verdict = Verdict.UNDEFINED
    elif study.n_documents < study.settings.least_units:
        verdict = Verdict.INSUFFICIENT
        shown += f"; {study.n_documents} documents, at least {study.settings.least_units} are needed"
    elif strong:
        verdict = Verdict.PASS
    elif open_heads:
        verdict = Verdict.WARN
        shown += f"; {open_heads} might be selective: their intervals reach above {study.settings.margins.selective}"
    else:
        verdict = Verdict.ABSENT
    return [
        Finding(
            claim="heads_by_verdict",
            verdict=verdict,
            reason=shown,
            estimate=strong / total if total else None,
            unit="share sharp or selective",
            n=study.n_documents,
            null="none: counts of head verdicts, each by its own interval",
            threshold=study.settings.margins.selective,
            source=SOURCE,
            detail={name: counts[name] for name in sorted(counts)},
        )
    ]
