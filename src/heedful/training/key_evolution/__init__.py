"""From the table of a run to figures on its key vectors, with paragraphs that say what the numbers show."""

from heedful.training.key_evolution.figures import key_report, report_of
from heedful.training.key_evolution.rows import KeyRows, key_rows, rows_of

__all__ = ["KeyRows", "key_report", "key_rows", "report_of", "rows_of"]
