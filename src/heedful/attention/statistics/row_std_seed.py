"""Standard deviation of a row as published scripts compute it, only for comparison."""

from math import nan

import torch
from torch import Tensor

from heedful.attention.engines.moments import RowMoments
from heedful.attention.registry import statistic


@statistic(
    needs=("collision", "self_mass", "total"),
    unit="mass",
    bounds=(0.0, 0.5),
    source="attention validation guide, section 5; for comparison only",
)
def row_std_seed(moments: RowMoments) -> Tensor:
    r"""Population standard deviation of a row without its diagonal entry, masked zeros included.

    .. math:: \sqrt{\frac{\sum_j A_{ij}^2 - A_{ii}^2}{N-1} - \Big(\frac{1 - A_{ii}}{N-1}\Big)^2}

    Reading: none; it is a function of the length ``N`` (a one-hot row has about ``1 / sqrt(N)``).
    Pitfall: no verdict of heedful uses it. ``N`` is the length of the tensor, so that padding on either side, which
    changes no other statistic, changes this one.

    Args:
        moments: One call's row moments, ``(batch, head, query)``.

    Returns:
        Standard deviation, ``(batch, head, query)``; NaN where a query sees no key or there is one key.
    """
    if moments.n_keys < 2:
        return torch.full_like(moments.collision, nan)
    own = moments.self_mass.nan_to_num()
    others = moments.n_keys - 1
    mean = (moments.total - own).div_(others)
    square = torch.addcmul(moments.collision, own, own, value=-1).div_(others).addcmul_(mean, mean, value=-1)
    return square.clamp_min_(0).sqrt_()
