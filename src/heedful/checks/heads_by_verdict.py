"""Section 5: which heads are sharp, selective, weak or diffuse?"""

from __future__ import annotations

from collections import Counter

from heedful.core.registry import check
from heedful.core.result import Finding, Verdict
from heedful.study import Study

SOURCE = "nats from uniform by whole intervals: selective above 0.5, diffuse below 0.05; sharp: largest weight above 0.5 or at most 4 keys"


@check(section=5, source=SOURCE)
def heads_by_verdict(study: Study) -> list[Finding]:
    """A count of the head table; each head's own verdict stands there."""
    counts = Counter(row.verdict for row in study.head_table)
    total = sum(counts.values())
    shown = ", ".join(
        f"{counts[name]} {name}" for name in ("SHARP", "SELECTIVE", "WEAK", "DIFFUSE", "UNDEFINED") if counts[name]
    )
    strong = counts["SHARP"] + counts["SELECTIVE"]
    verdict = Verdict.UNDEFINED if counts["UNDEFINED"] == total else Verdict.PASS if strong else Verdict.ABSENT
    return [
        Finding(
            claim="heads_by_verdict",
            verdict=verdict,
            reason=f"{total} heads: {shown}",
            estimate=strong / total if total else None,
            unit="share sharp or selective",
            n=study.n_documents,
            source=SOURCE,
            detail={name: counts[name] for name in sorted(counts)},
        )
    ]
