"""Recipes on the transformers Trainer; run one as ``python -m heedful.training.default_model --out DIR``."""

from heedful.training.king_james import Chapter, hold_out, parse_chapters, read_king_james
from heedful.training.ngram import KneserNey, modified_discounts
from heedful.training.tracker import AttentionTracker, read_table

__all__ = [
    "AttentionTracker",
    "Chapter",
    "KneserNey",
    "hold_out",
    "modified_discounts",
    "parse_chapters",
    "read_king_james",
    "read_table",
]
