"""Decide which changes are regressions, by rule."""

from __future__ import annotations

from heedful.comparison.record import FAIL_ON, FindingChange
from heedful.errors import UsageError
from heedful.inference.verdict import Verdict

ALPHA = 0.05
_BROKEN = (Verdict.FAIL, Verdict.ERROR)
_UNJUDGED = (Verdict.SKIP, Verdict.UNDEFINED)
_JUDGED = (Verdict.PASS, Verdict.WARN, Verdict.ABSENT, Verdict.FAIL)


def check_rules(fail_on: tuple[str, ...], tolerance: float) -> None:
    """Raise an error if a rule does not exist or cannot be combined with another.

    Raises:
        UsageError: A rule is unknown, ``never`` stands beside another, or the tolerance is negative.
    """
    unknown = [rule for rule in fail_on if rule not in FAIL_ON]
    if unknown or not fail_on:
        raise UsageError(f"fail-on: expected some of {', '.join(FAIL_ON)}; got {', '.join(unknown) or 'nothing'}")
    if "never" in fail_on and len(set(fail_on)) > 1:
        raise UsageError(f"fail-on: never excludes every other rule; got {', '.join(fail_on)}")
    if not 0.0 <= tolerance < float("inf"):
        raise UsageError(f"tolerance: expected a number from 0 up, got {tolerance}")


def rules_broken(change: FindingChange, tolerance: float) -> tuple[str, ...]:
    """Return the rules of ``FAIL_ON`` that a change breaks.

    ``fail``: FAIL or ERROR where there was none, of the model or of a layer. ``verdict``: that, or a claim of the model
    that no longer passes: because its effect is shown to be smaller (adjusted p of at most 5 %), because it has no
    interval to tell by, or because the second report does not judge it. ``effect``: a claim that is judged by its
    size has become smaller by more than ``tolerance`` times its margin: paired, by the whole interval, and with an
    adjusted p of at most 5 %. A claim whose definition is another one in the second report breaks none.

    Args:
        change: The change, its regressions not yet known.
        tolerance: Share of a claim's margin.
    """
    if change.redefined:
        return ()
    before = change.before.verdict if change.before else None
    after = change.after.verdict if change.after else None
    broken = []
    failed = after in _BROKEN and before not in _BROKEN
    lost = change.layer is None and before is Verdict.PASS and after is not Verdict.PASS and not _alike(change)
    if failed or lost:
        broken.append("verdict")
    if failed:
        broken.append("fail")
    if _smaller(change, tolerance) and before in _JUDGED and after in _JUDGED:
        broken.append("effect")
    return tuple(broken)


def _alike(change: FindingChange) -> bool:
    """Whether both reports have an estimate with its interval, and no loss is shown: less text alone is none."""
    if change.interval is None or change.after is None or change.after.verdict in _UNJUDGED:
        return False
    if change.p_adjusted is None:
        return not change.interval[1] < 0
    return change.p_adjusted > ALPHA or not (change.difference or 0.0) < 0


def _smaller(change: FindingChange, tolerance: float) -> bool:
    if not change.paired or change.interval is None or change.margin is None or change.p_adjusted is None:
        return False
    return change.p_adjusted <= ALPHA and change.interval[1] < -tolerance * change.margin


def sentence(change: FindingChange, rules: tuple[str, ...]) -> str:
    """Return one sentence on a regression; "" if the change breaks none of ``rules``."""
    hit = [rule for rule in change.regressions if rule in rules]
    if not hit:
        return ""
    place = change.claim if change.layer is None else f"{change.claim} (layer {change.layer})"
    before, after = (word if word != "-" else "not in the report" for word in change.verdicts)
    message = f"{place}: {before} -> {after}"
    if hit == ["effect"] and change.interval is not None:
        bounds = f"[{change.interval[0]:.3g}, {change.interval[1]:.3g}]"
        return f"{place}: smaller by {-(change.difference or 0.0):.3g} {change.unit}, difference {bounds}"
    return f"{message}: {change.after.reason}" if change.after is not None else message
