"""Pages of parts (a table, a paragraph, a figure each), shown on a terminal or in a browser, and records as JSON."""

from heedful.report.pages.document import record_document, record_json
from heedful.report.pages.html import page_html
from heedful.report.pages.part import Page, Part
from heedful.report.pages.terminal import page_lines, page_text, print_page

__all__ = ["Page", "Part", "page_html", "page_lines", "page_text", "print_page", "record_document", "record_json"]
