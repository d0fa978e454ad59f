"""Records in, something to read out: a terminal page, a JSON document, a head table. Reads heedful.core alone."""

from heedful.report.head_table import check_suffix, head_frame, save_heads
from heedful.report.json_document import SCHEMA, document_text, head_documents, to_document, to_json
from heedful.report.json_reader import from_json
from heedful.report.terminal import print_heads, print_report, terminal_text
from heedful.report.write import check_target, is_report, write_atomic

__all__ = [
    "SCHEMA",
    "check_suffix",
    "check_target",
    "document_text",
    "from_json",
    "head_documents",
    "head_frame",
    "is_report",
    "print_heads",
    "print_report",
    "save_heads",
    "terminal_text",
    "to_document",
    "to_json",
    "write_atomic",
]
