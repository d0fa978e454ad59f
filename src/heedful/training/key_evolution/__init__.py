"""From the table of a run to figures on its key vectors, with paragraphs that say what the numbers show."""

from heedful.training.key_evolution.figures import key_report
from heedful.training.key_evolution.rows import KeyRows, key_rows

__all__ = ["KeyRows", "key_report", "key_rows"]
