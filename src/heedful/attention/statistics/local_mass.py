"""Attention weight near the query's own position."""

from torch import Tensor

from heedful.attention.engines.moments import RowMoments
from heedful.attention.registry import statistic


@statistic(needs=("local_mass",), unit="mass", bounds=(0.0, 1.0), source="Clark et al. 2019, arXiv:1906.04341")
def local_mass(moments: RowMoments) -> Tensor:
    r"""Weight of a query on the keys within 5 positions, its own included.

    .. math:: \sum_{|i-j| \le 5} A_{ij}

    Reading: near 1 the head reads a short window.
    Pitfall: uniform rows of few keys have much of it too; the test of local bias is ``log_contrast``, not this.

    Args:
        moments: One call's row moments, ``(batch, head, query)``.

    Returns:
        Mass, ``(batch, head, query)``; NaN in cross-attention and where a query sees no key.
    """
    return moments.local_mass
