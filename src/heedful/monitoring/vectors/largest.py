"""Measure the largest component of each vector, and its share of the squared norm."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from heedful.monitoring.vectors.vectors import Vectors


def largest_sums(vectors: Vectors) -> dict[str, Tensor]:
    """Return sums over vectors of the largest absolute component and its share of the squared norm, ``(head,)`` each.

    Args:
        vectors: Queries or keys; vectors of norm 0 have no share and are not in ``directed``.
    """
    largest = vectors.values.abs().amax(-1)
    directed = vectors.energy > 0
    share = largest.square() / vectors.energy.masked_fill(~directed, 1.0)
    return {
        "directed": directed.sum((0, 2)),
        "largest": largest.sum((0, 2)),
        "largest_share": share.sum((0, 2)),
    }


def largest_statistics(sums: Mapping[str, Tensor], largest: Tensor) -> dict[str, Tensor]:
    r"""Return the mean largest component, its share of the squared norm, and the overall maximum, ``(head,)`` each.

    .. math:: \operatorname{mean}_i \max_c |x_{ic}|, \qquad \operatorname{mean}_i \max_c x_{ic}^2 / \lVert x_i\rVert^2

    Reading: a share of .9 would be "one dimension holds the vector"; components of the same size give 1 / dim.
    Pitfall: ``global_max`` is one number out of all vectors and components, and grows with how many there are. Do
    not compare it with the mean norm, which covers different vectors.

    Args:
        sums: Those of ``largest_sums`` and ``norm_sums``.
        largest: ``(head,)`` largest absolute component of all.

    Returns:
        ``largest_mean``, ``largest_share`` and ``global_max``, each ``(head,)``; NaN where there was no vector.
    """
    return {
        "largest_mean": sums["largest"].double() / sums["count"].double(),
        "largest_share": sums["largest_share"].double() / sums["directed"].double(),
        "global_max": largest.double(),
    }
