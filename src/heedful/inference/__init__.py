"""Intervals, tests, multiplicity, power and verdicts for values whose first axis is the independent unit.

The unit is the document. Rows, tokens and entries of one document share its text and are not independent: intervals
built on them cover a third to a half of what they promise (statistics of clustered data; Miller 2024,
arXiv:2411.00640). Bring values to documents with :func:`document_means` first; every other function here takes float64
arrays ``(unit, ...)`` and works on all trailing entries (heads, layers) at once. NaN is missing and stays NaN.
"""

from heedful.inference.correlation import spearman_over_units
from heedful.inference.interval import Interval, bootstrap_t, clustered_t, student_t
from heedful.inference.looks import obrien_fleming, repeated_interval, repeated_p
from heedful.inference.margin import equivalent, judge
from heedful.inference.multiplicity import benjamini_hochberg, count_discoveries, holm
from heedful.inference.power import minimal_detectable_effect, units_needed
from heedful.inference.ranks import max_rank_p, pooled_rank_p, rank_p
from heedful.inference.signflip import SignFlip, sign_flip
from heedful.inference.skewness import skew_p, skew_t
from heedful.inference.units import document_means, mean_and_spread, resample_counts

__all__ = [
    "Interval",
    "SignFlip",
    "benjamini_hochberg",
    "bootstrap_t",
    "clustered_t",
    "count_discoveries",
    "document_means",
    "equivalent",
    "holm",
    "judge",
    "max_rank_p",
    "mean_and_spread",
    "minimal_detectable_effect",
    "obrien_fleming",
    "pooled_rank_p",
    "rank_p",
    "repeated_interval",
    "repeated_p",
    "resample_counts",
    "sign_flip",
    "skew_p",
    "skew_t",
    "spearman_over_units",
    "student_t",
    "units_needed",
]
