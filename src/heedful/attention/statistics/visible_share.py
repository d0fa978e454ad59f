"""Effective number of keys relative to the number of visible keys."""

from torch import Tensor

from heedful.attention.engines.moments import RowMoments
from heedful.attention.registry import statistic


@statistic(
    needs=("entropy", "total", "visible"),
    unit="share",
    bounds=(0.0, 1.0),
    source="Jost 2006, doi:10.1111/j.2006.0030-1299.14714.x",
)
def visible_share(moments: RowMoments) -> Tensor:
    r"""Effective keys divided by visible keys.

    .. math:: \exp(H_i) / n_i

    Reading: 1 is uniform; ``-log`` of it is ``concentration``.
    Pitfall: a head that attends to a fixed number of keys has a smaller share at longer context.

    Args:
        moments: One call's row moments, ``(batch, head, query)``.

    Returns:
        Share in (0, 1], ``(batch, head, query)``; NaN where a query sees no key.
    """
    return (moments.normalised_entropy.exp() / moments.visible).clamp_max(1)
