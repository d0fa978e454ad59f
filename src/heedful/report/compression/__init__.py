"""Reports on compression: parts of a page, shown on a terminal, in a browser, or as JSON."""

from heedful.report.compression.document import compression_json
from heedful.report.compression.page import compression_html
from heedful.report.compression.part import Page, Part
from heedful.report.compression.pruning import pruning_page
from heedful.report.compression.quantization import quantization_page
from heedful.report.compression.terminal import page_lines, page_text, print_page

__all__ = [
    "Page",
    "Part",
    "compression_html",
    "compression_json",
    "page_lines",
    "page_text",
    "print_page",
    "pruning_page",
    "quantization_page",
]
