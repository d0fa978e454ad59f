"""Attention variants of the reference decoder, one a file; the config names one by its key."""

from heedful.models.attention.softmax import SoftmaxAttention

VARIANTS = {"softmax": SoftmaxAttention}

__all__ = ["VARIANTS", "SoftmaxAttention"]
