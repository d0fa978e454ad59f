"""Distance of a query's weights from uniform attention."""

from math import inf

from torch import Tensor

from heedful.attention.engines.moments import RowMoments
from heedful.attention.registry import statistic


@statistic(
    needs=("entropy", "total", "visible"),
    unit="nat",
    bounds=(0.0, inf),
    source="Kullback & Leibler 1951, doi:10.1214/aoms/1177729694",
)
def concentration(moments: RowMoments) -> Tensor:
    r"""KL divergence of a query's weights from uniform attention over its visible keys.

    .. math:: D_i = \log n_i - H_i = \mathrm{KL}(A_i \,\|\, 1/n_i)

    Reading: 0 is uniform; logits of standard deviation ``s`` give about ``s^2 / 2`` at any length; one-hot rows give
    ``log n_i``.
    Pitfall: a head that always attends to 4 keys grows like ``log n``: read ``effective_keys`` beside it.

    Args:
        moments: One call's row moments, ``(batch, head, query)``.

    Returns:
        Nats from uniform, ``(batch, head, query)``; NaN where a query sees no key. Where a learned sink takes
        weight, the rest is taken as a distribution of its own: a head is not sharp for leaving all keys alone.
    """
    # Where no key is seen the entropy is NaN, and so is this.
    return (moments.visible.to(moments.entropy.dtype).log_() - moments.normalised_entropy).clamp_min_(0)
