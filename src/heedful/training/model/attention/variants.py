"""Registry of attention variants that the reference decoder's config can name."""

from heedful.training.model.attention.softmax import SoftmaxAttention

VARIANTS = {"softmax": SoftmaxAttention}
