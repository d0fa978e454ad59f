"""Give each head statistic a unit and a one-sentence explanation."""

from __future__ import annotations

from heedful.attention.registry import STATISTICS

_WORDS = {
    "concentration": ("nat", "distance from equal weights over the visible keys"),
    "effective_keys": ("keys", "equally weighted keys that would have this entropy"),
    "induction_mass": ("mass", "weight on the tokens after all earlier copies of the query's token, on random repeats"),
    "duplicate_mass": ("mass", "weight on all earlier copies of the query's own token, on random repeats"),
    "local_mass": ("mass", "weight within 5 positions"),
    "log_contrast": ("log ratio", "near keys against far ones, within rows"),
    "later_sink_key": (
        "position",
        "key other than the first that draws most weight, where half of the sequences agree",
    ),
    "later_sink_mass": ("mass", "mean weight on the key other than the first that draws most"),
    "max_logit": ("logit", "largest logit over all visible pairs, after scale, softcap and bias"),
    "max_weight": ("mass", "weight of the heaviest key"),
    "near_zero_mass": ("mass", "weight on values whose projected norm is below a quarter of the median one"),
    "offset": ("tokens", "offset of the heaviest key from the query, own and previous token left out"),
    "offset_mass": ("mass", "mean weight at that offset"),
    "pair_mass": ("mass", "mean weight on the given pairs"),
    "pair_mass_permuted": ("mass", "the same on permuted pairs"),
    "pair_p": ("p", "share of matchings, permuted and given, with this mass"),
    "pair_p_adjusted": ("p", "the same, adjusted over all heads"),
    "previous_mass": ("mass", "weight on the token before"),
    "row_entropy": ("nat", "entropy of the weights"),
    "row_std_seed": ("mass", "spread of a row's weights; for comparison only, it shrinks with length"),
    "self_mass": ("mass", "weight on the query's own token"),
    "sink_mass": ("mass", "weight on the first key"),
    "sink_norm_ratio": ("ratio", "norm of the hidden state of the heaviest key over the sequence's median one"),
    "visible_share": ("share", "effective keys over visible keys"),
    "weighted_sink_mass": ("share", "share of the first key in weight times value times output projection"),
}


def known_names() -> tuple[str, ...]:
    """Names of the statistics that have a unit and a reading here."""
    return tuple(_WORDS)


def words_of(name: str) -> tuple[str, str]:
    """Return the unit and a one-sentence explanation of a statistic.

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
