"""Records in, something to read out: a terminal page, a JSON document, a head table. Reads heedful.core alone."""

from heedful.report.comparison_document import comparison_document, comparison_json
from heedful.report.comparison_html import comparison_html
from heedful.report.comparison_lines import comparison_text, print_comparison
from heedful.report.comparison_markdown import comparison_markdown
from heedful.report.head_table import check_suffix, head_frame, save_heads
from heedful.report.json_document import SCHEMA, document_text, head_documents, to_document, to_json
from heedful.report.json_reader import from_json
from heedful.report.junit import comparison_junit, junit
from heedful.report.markdown import markdown
from heedful.report.terminal import print_heads, print_report, terminal_text
from heedful.report.write import check_target, is_own, write_atomic

__all__ = [
    "SCHEMA",
    "check_suffix",
    "check_target",
    "comparison_document",
    "comparison_html",
    "comparison_json",
    "comparison_junit",
    "comparison_markdown",
    "comparison_text",
    "document_text",
    "from_json",
    "head_documents",
    "head_frame",
    "is_own",
    "junit",
    "markdown",
    "print_comparison",
    "print_heads",
    "print_report",
    "save_heads",
    "terminal_text",
    "to_document",
    "to_json",
    "write_atomic",
]
