"""``heedful.compare``: compare two reports, given as records or as files."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedful.errors import UsageError
from heedful.evaluation.model_and_text import one_or_many

if TYPE_CHECKING:
    from heedful.comparison.record import Comparison
    from heedful.evaluation.result import Report

_log = logging.getLogger(__name__)


def compare(
    before: Report | str | Path,
    after: Report | str | Path,
    *,
    fail_on: str | Sequence[str] = ("verdict",),
    tolerance: float = 1.0,
    within: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two reports and return the change of each claim with its interval, both verdicts, the changes of heads,
    and the regressions.

    The words are those of ``heedful compare``.

    Args:
        before: The baseline: what ``heedful.validate`` returned, or the JSON file of it.
        after: The report that is compared with it, in the same forms.
        fail_on: Rules of a regression: ``verdict``, ``fail``, ``effect`` or ``never``; one or more.
        tolerance: Share of a claim's margin by which ``effect`` lets it become smaller.
        within: Claim or unit to the difference that counts as none; two one-sided tests then answer EQUIVALENT,
            DIFFERENT or NOT SETTLED.
        seed: Seed of resamples and flips.

    Returns:
        The comparison; ``failed`` says whether a rule is broken.

    Raises:
        UsageError: A rule does not exist, the tolerance is negative, a file is missing, or both are one file.
        InputRejected: A file is no report.

    Example:
        >>> heedful.compare("before.json", "after.json", fail_on="effect").failed  # doctest: +SKIP
        False
    """
    if _is_path(before) and _is_path(after) and same_file(before, after):
        raise UsageError(f"{os.fspath(after)}: is the same file as {os.fspath(before)} (name two reports)")  # type: ignore[arg-type]
    rules = one_or_many(fail_on)
    reports = [_report(name, one) for name, one in (("before", before), ("after", after))]
    from heedful.comparison.compare import compare as judge

    _log.info("compared by %s", ", ".join(map(str, rules)))
    return judge(*reports, fail_on=rules, tolerance=tolerance, within=within or {}, seed=seed)


def same_file(first: Any, second: Any) -> bool:
    """Return whether two paths name the same file, even if it does not exist yet."""
    if os.fspath(first) == os.fspath(second):
        return True
    try:
        return os.path.samefile(first, second)
    except (OSError, ValueError):
        return False


def _is_path(given: object) -> bool:
    return isinstance(given, str | os.PathLike)


def _report(name: str, given: Any) -> Report:
    if _is_path(given):
        from heedful.evaluation.stored_report import stored_report

        return stored_report(Path(given))
    from heedful.evaluation.result import Report

    if not isinstance(given, Report):
        message = f"expected what heedful.validate returns, or its JSON file; got {type(given).__name__}"
        raise UsageError(f"{name}: {message}")
    return given
