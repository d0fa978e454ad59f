"""Effective number of keys that a query attends to."""

from math import inf

from torch import Tensor

from heedful.attention.engines.moments import RowMoments
from heedful.attention.registry import statistic


@statistic(
    needs=("entropy", "total"),
    unit="key",
    bounds=(1.0, inf),
    source="Hill 1973, doi:10.2307/1934352 (order 1); Jost 2006, doi:10.1111/j.2006.0030-1299.14714.x",
)
def effective_keys(moments: RowMoments) -> Tensor:
    r"""Number of equally weighted keys with the same entropy as the query's weights.

    .. math:: N_i = \exp(H_i)

    Reading: 1 is one-hot, ``n_i`` is uniform.
    Pitfall: "how many" and "what share of those visible" differ over lengths; see ``visible_share``.

    Args:
        moments: One call's row moments, ``(batch, head, query)``.

    Returns:
        Keys, ``(batch, head, query)``; NaN where a query sees no key.
    """
    return moments.normalised_entropy.exp()
