"""Unit and short explanation of each statistic of a head."""

from __future__ import annotations

from heedful.attention.registry import STATISTICS

_WORDS = {
    "concentration": ("nat", "distance from equal weights over the visible keys"),
    "effective_keys": ("keys", "equally weighted keys that would have this entropy"),
    "induction_mass": ("mass", "weight on the tokens after all earlier copies of the query's token, on random repeats"),
    "duplicate_mass": ("mass", "weight on all earlier copies of the query's own token, on random repeats"),
    "local_mass": ("mass", "weight within 5 positions"),
    "log_contrast": ("log ratio", "near keys against far ones, within rows"),
    "max_weight": ("mass", "weight of the heaviest key"),
    "previous_mass": ("mass", "weight on the token before"),
    "row_entropy": ("nat", "entropy of the weights"),
    "row_std_seed": ("mass", "spread of a row's weights; for comparison only, it shrinks with length"),
    "self_mass": ("mass", "weight on the query's own token"),
    "sink_mass": ("mass", "weight on the first key"),
    "visible_share": ("share", "effective keys over visible keys"),
}


def words_of(name: str) -> tuple[str, str]:
    """Unit and reading of a statistic.

    Args:
        name: Of the statistic; one of another package has the unit that it was registered with, and the first line of
            its docstring.

    Returns:
        Both empty for one that nothing installed here registers, as in a report from elsewhere.
    """
    if name in _WORDS:
        return _WORDS[name]
    if name not in STATISTICS:
        return "", ""
    facts = STATISTICS[name]
    first = next(iter((facts.compute.__doc__ or "").strip().splitlines()), "")
    return facts.unit, first.rstrip(".")
