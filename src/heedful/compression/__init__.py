"""Quantizing keys, pruning heads, layers and dimensions: the price on held-out text."""

from heedful.compression.quantize_keys import quantize_keys, standard_quantizers
from heedful.compression.quantizer import GROUPS, Quantizer, quantized

__all__ = ["GROUPS", "Quantizer", "quantize_keys", "quantized", "standard_quantizers"]
