"""Entropy of a query's attention weights."""

from math import inf

from torch import Tensor

from heedful.attention.engines.moments import RowMoments
from heedful.attention.registry import statistic


@statistic(
    needs=("entropy",),
    unit="nat",
    bounds=(0.0, inf),
    source="Shannon 1948, doi:10.1002/j.1538-7305.1948.tb01338.x; Clark et al. 2019, arXiv:1906.04341",
)
def row_entropy(moments: RowMoments) -> Tensor:
    r"""Entropy of a query's weights over its visible keys.

    .. math:: H_i = -\sum_j A_{ij} \log A_{ij}, \qquad 0 \log 0 := 0

    Reading: ``exp(H_i)`` keys would be attended if all weighed the same.
    Pitfall: grows with context; compare lengths as ``log n_i - H_i`` (``concentration``).

    Args:
        moments: One call's row moments, ``(batch, head, query)``.

    Returns:
        Entropy in nats, ``(batch, head, query)``; NaN where a query sees no key.
    """
    return moments.entropy
