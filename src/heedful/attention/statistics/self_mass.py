"""Attention weight on the query's own position."""

from torch import Tensor

from heedful.attention.engines.moments import RowMoments
from heedful.attention.registry import statistic


@statistic(needs=("self_mass",), unit="mass", bounds=(0.0, 1.0), source="Clark et al. 2019, arXiv:1906.04341")
def self_mass(moments: RowMoments) -> Tensor:
    r"""Weight of a query on its own position.

    .. math:: A_{ii}

    Reading: near 1 the head copies its own token.
    Pitfall: undefined where queries and keys are different sequences.

    Args:
        moments: One call's row moments, ``(batch, head, query)``.

    Returns:
        Mass, ``(batch, head, query)``; NaN in cross-attention and where a query sees no key.
    """
    return moments.self_mass
