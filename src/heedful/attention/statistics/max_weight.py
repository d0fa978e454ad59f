"""The largest weight of a query."""

from torch import Tensor

from heedful.attention.engines.moments import RowMoments
from heedful.attention.registry import statistic


@statistic(needs=("max_weight",), unit="mass", bounds=(0.0, 1.0), source="Clark et al. 2019, arXiv:1906.04341")
def max_weight(moments: RowMoments) -> Tensor:
    r"""Largest weight of a query on a single key.

    .. math:: \max_j A_{ij}

    Reading: above 0.5 one key outweighs all others together.
    Pitfall: at least ``1 / n_i``, so short rows look sharper.

    Args:
        moments: One call's row moments, ``(batch, head, query)``.

    Returns:
        Mass, ``(batch, head, query)``; NaN where a query sees no key.
    """
    return moments.max_weight
