"""Attention weight on the previous position."""

from torch import Tensor

from heedful.attention.engines.moments import RowMoments
from heedful.attention.registry import statistic


@statistic(needs=("previous_mass",), unit="mass", bounds=(0.0, 1.0), source="Olsson et al. 2022, arXiv:2209.11895")
def previous_mass(moments: RowMoments) -> Tensor:
    r"""Weight of a query on the previous position.

    .. math:: A_{i,i-1}

    Reading: above 0.4 on average: a previous-token head.
    Pitfall: compare with the uniform share ``1 / n_i``.

    Args:
        moments: One call's row moments, ``(batch, head, query)``.

    Returns:
        Mass, ``(batch, head, query)``; NaN where that key does not exist or is not visible.
    """
    return moments.previous_mass
