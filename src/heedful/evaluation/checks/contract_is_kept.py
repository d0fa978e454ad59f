"""Section 1: does attention match config and batch in mask, scale and positions, as `heedful check` tests?"""

from __future__ import annotations

from heedful.contract.record import ContractReport, Judgement, Status
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.inference.verdict import Verdict

SOURCE = "heedful check: kernel rows and behaviour against config and batch, on the first sequences"
SHOWN = 5
"""Breaches that are told one by one."""


@check(
    section=1,
    source=SOURCE,
    meaning="A model that sees other keys, or at another scale, than its config says is not the model you think it is.",
)
def contract_is_kept(study: Study) -> list[Finding]:
    """Every testable property that config and batch promise holds: visible keys, scale and positions.

    Scale, grouping, rotary positions, windows, padding and direction are judged by the proofs of ``heedful check``.
    """
    report = study.contract
    if isinstance(report, str):
        return [Finding(claim="contract_is_kept", verdict=Verdict.SKIP, reason=report, source=SOURCE)]
    held = list(dict.fromkeys(one.promise for one in report.judgements if one.status is Status.HELD))
    if not report.broken and not held:
        reason = "neither config nor batch promise anything that can be judged here"
        return [Finding(claim="contract_is_kept", verdict=Verdict.SKIP, reason=reason, source=SOURCE)]
    broken = len({(one.promise, one.path) for one in report.broken})
    whole = Finding(
        claim="contract_is_kept",
        verdict=Verdict.FAIL if broken else Verdict.PASS,
        reason=_summary(report, broken) if broken else f"{', '.join(held)}: as config and batch promise",
        estimate=float(broken),
        unit="promises",
        n=study.n_documents,
        null="exact: 0",
        threshold=0.0,
        source=SOURCE,
        detail={
            "statuses": {name: sorted({str(one.status) for one in report.of(name)}) for name in _names(report)},
            "breaches": [_of_one(one) for one in report.broken[:SHOWN]],
            "forwards": report.forwards,
        },
    )
    return [whole]


def _names(report: ContractReport) -> list[str]:
    return list(dict.fromkeys(one.promise for one in report.judgements))


def _summary(report: ContractReport, count: int) -> str:
    first = report.broken[0]
    where = f"layer {first.layer} ({first.path})" if first.layer is not None else first.path or "the whole model"
    expected = "" if first.breach is None else f", promised: {first.breach.expected}"
    more = f"; {count - 1} more" if count > 1 else ""
    return f"{first.promise} is broken in {where}: {first.found}{expected}{more}; heedful check names the remedy"


def _of_one(one: Judgement) -> dict[str, object]:
    breach = one.breach
    pair = {} if breach is None else {"query": breach.query, "key": breach.key, "head": breach.head}
    return {"promise": one.promise, "module": one.path, "found": one.found, "source": one.source, **pair}
