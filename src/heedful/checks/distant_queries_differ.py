"""Section 6: does a query attend otherwise than the query 10 positions before?"""

from __future__ import annotations

from heedful.core.registry import check
from heedful.core.result import Finding
from heedful.study import Study, lagged_queries

SOURCE = "Jensen-Shannon divergence over common keys, renormalised, against shuffled tokens (statistics of order)"


@check(section=6, source=SOURCE)
def distant_queries_differ(study: Study) -> list[Finding]:
    """A query's weights over the keys that both see differ from those of the query 10 positions before.

    The null is the same model on the same tokens in another order: a purely positional pattern differs just as much there.
    """
    return lagged_queries(study, "distant_queries_differ", "distant", SOURCE)
