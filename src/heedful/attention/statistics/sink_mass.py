"""Attention weight on the first key."""

from torch import Tensor

from heedful.attention.engines.moments import RowMoments
from heedful.attention.registry import statistic


@statistic(
    needs=("first_mass",),
    unit="mass",
    bounds=(0.0, 1.0),
    source="Xiao et al. 2023, arXiv:2309.17453; Gu et al. 2024, arXiv:2410.10781",
)
def sink_mass(moments: RowMoments) -> Tensor:
    r"""Weight of a query on the first visible key of the sequence.

    .. math:: A_{i,j_0}

    Reading: above 0.3 on average: an attention sink.
    Pitfall: a head that attends uniformly gives ``1 / n_i`` here; say the ratio.

    Args:
        moments: One call's row moments, ``(batch, head, query)``.

    Returns:
        Mass, ``(batch, head, query)``; NaN where a query sees no key.
    """
    return moments.first_mass
