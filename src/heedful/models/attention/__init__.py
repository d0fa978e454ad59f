"""Attention variants, one a file; the reference decoder's config names one by its key."""

from heedful.models.attention.gauge_kl import Around, DivergenceHeads, GaugeKLAttention
from heedful.models.attention.softmax import SoftmaxAttention

VARIANTS = {"softmax": SoftmaxAttention}

__all__ = ["VARIANTS", "Around", "DivergenceHeads", "GaugeKLAttention", "SoftmaxAttention"]
