"""Compute skill, ``1 - KL / KL_uniform``: how much closer attention is to the expected weights than uniform attention
is.
"""

from __future__ import annotations

import numpy as np

from heedful.evaluation.evidence import Array
from heedful.ngrams.alignment.record import ROUNDING


def skill_by_document(divergence: Array, uniform: Array) -> Array:
    r"""Return linearised values per document, ``(document, ...)``: their mean is the skill ``1 - KL / KL_uniform``,
    their spread gives its interval.

    .. math:: s + (g_d - s\, u_d) / \bar u, \qquad g_d = u_d - \mathrm{KL}_d, \quad s = \bar g / \bar u

    Documents that expect sharper weights have more to gain; a quotient judged as one does not count that as
    uncertainty, so that a head that is exact has the interval [1, 1]. Source: the linearised ratio estimator, Cochran
    1977, Sampling Techniques, section 6.

    Args:
        divergence: ``(document, ...)``, NaN where a document has no row with an expectation.
        uniform: The same of uniform attention.

    Returns:
        ``(document, ...)``; NaN where the counts expect equal weights of every row.
    """
    gain = uniform - divergence
    known = np.isfinite(gain)
    total = np.where(known, uniform, 0.0).sum(axis=0)
    size = total / np.maximum(known.sum(axis=0), 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        skill = np.where(size > ROUNDING, np.where(known, gain, 0.0).sum(axis=0) / total, np.nan)
        return np.asarray(skill + (gain - skill * uniform) / size)
