"""What the keys mean: quantizing them, pruning heads and layers, priced on held-out text against random choice."""

from heedful.compression.cuts import PARTS, Cuts
from heedful.compression.prune import prune
from heedful.compression.quantize_keys import quantize_keys, standard_quantizers
from heedful.compression.quantizer import GROUPS, Quantizer, quantized

__all__ = ["GROUPS", "PARTS", "Cuts", "Quantizer", "prune", "quantize_keys", "quantized", "standard_quantizers"]
