"""A report as one self-contained page: verdicts first, a map of heads, figures; opens from disk without a network."""

from heedful.report.html.page import to_html

__all__ = ["to_html"]
