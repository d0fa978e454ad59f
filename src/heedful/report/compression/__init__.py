"""Reports on compression, as pages of parts."""

from heedful.report.compression.pruning import pruning_page
from heedful.report.compression.quantization import quantization_page

__all__ = ["pruning_page", "quantization_page"]
