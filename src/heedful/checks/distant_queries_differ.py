"""Section 6: does a query attend otherwise than the query 10 positions before?"""

from __future__ import annotations

from heedful.core.registry import check
from heedful.core.result import Finding
from heedful.study import Study, lagged_queries

SOURCE = "Jensen-Shannon divergence over common keys, renormalised, against shuffled tokens (statistics of order)"


@check(section=6, source=SOURCE)
def distant_queries_differ(study: Study) -> list[Finding]:
    """A query's weights over common keys differ from those of the query 10 positions before, beyond position.

    The null is the same model on the same tokens in another order: a purely positional pattern differs just as much
    there, and so does one that follows words whatever their order. PASS needs a divergence above the margin that is
    another there.
    """
    return lagged_queries(study, "distant_queries_differ", "distant", SOURCE)
