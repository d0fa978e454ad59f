"""Section 6: does a query attend differently from the query just before it?"""

from __future__ import annotations

from heedful.evaluation.lagged import lagged_queries
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study

SOURCE = (
    "Jensen-Shannon divergence over common keys, renormalised, less that between the mean patterns; "
    "convexity: Lin 1991, doi:10.1109/18.61115"
)


@check(
    section=6,
    source=SOURCE,
    definition=2,
    meaning="If this fails, neighbouring tokens read the same keys, and attention repeats itself along the text.",
)
def adjacent_queries_differ(study: Study) -> list[Finding]:
    """Adjacent queries attend differently to the keys that both see, by more than their positions explain.

    The divergence between the mean patterns of the documents is what positions account for; a pattern that is the same
    in every text, however much its rows differ, exceeds it by 0. ``detail`` tells the divergence itself and the excess
    on the same tokens shuffled.
    """
    return lagged_queries(study, "adjacent_queries_differ", "adjacent", SOURCE)
