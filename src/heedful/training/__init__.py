"""Recipes on the transformers Trainer; run one as ``python -m heedful.training.default_model --out DIR``."""

from heedful.training.decoder_run import train_decoder
from heedful.training.derived_settings import DerivedRunSettings
from heedful.training.gauge_settings import GaugeRunSettings
from heedful.training.king_james import Chapter, hold_out, parse_chapters, read_king_james
from heedful.training.max_share_penalty import MaxSharePenalty
from heedful.training.ngram import KneserNey, modified_discounts
from heedful.training.run_folder import RunFolder
from heedful.training.run_settings import RunSettings
from heedful.training.tracker import AttentionTracker, read_table

__all__ = [
    "AttentionTracker",
    "Chapter",
    "DerivedRunSettings",
    "GaugeRunSettings",
    "KneserNey",
    "MaxSharePenalty",
    "RunFolder",
    "RunSettings",
    "hold_out",
    "modified_discounts",
    "parse_chapters",
    "read_king_james",
    "read_table",
    "train_decoder",
]
