"""Key vectors of a run or of checkpoints: five figures, each with a paragraph of what its numbers show and do not."""

from heedful.report.keys.document import key_document, key_json
from heedful.report.keys.lines import key_text, print_keys
from heedful.report.keys.page import key_html
from heedful.report.keys.record import KeyFigure, KeyReport
from heedful.report.keys.saving import check_key_figures, save_key_figures

__all__ = [
    "KeyFigure",
    "KeyReport",
    "check_key_figures",
    "key_document",
    "key_html",
    "key_json",
    "key_text",
    "print_keys",
    "save_key_figures",
]
