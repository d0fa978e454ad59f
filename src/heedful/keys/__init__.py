"""Queries and keys themselves: vectors in, sums that merge over shards, numbers a head out. One noun a file."""

from heedful.keys.gain import DecayCurve, gain_statistics
from heedful.keys.logit_spread import logit_spread
from heedful.keys.sample import Sample, first_sequences, sampled
from heedful.keys.sequence_mean import Interval, sequence_mean, sequence_sums
from heedful.keys.smooth_crest import smooth_crest
from heedful.keys.sums import Sums, gathered
from heedful.keys.vector_statistics import vector_statistics, vector_sums
from heedful.keys.vectors import Vectors

__all__ = [
    "DecayCurve",
    "Interval",
    "Sample",
    "Sums",
    "Vectors",
    "first_sequences",
    "gain_statistics",
    "gathered",
    "logit_spread",
    "sampled",
    "sequence_mean",
    "sequence_sums",
    "smooth_crest",
    "vector_statistics",
    "vector_sums",
]
