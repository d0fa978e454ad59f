"""Remedies of derived attention: a ladder of rungs, each one change, measured on one text and one footing."""

from heedful.study.remedies.climb import climb, missing_counts
from heedful.study.remedies.given_heads import check_causal
from heedful.study.remedies.ladder import rungs
from heedful.study.remedies.model_rungs import GROUP, Subject, model_rungs
from heedful.study.remedies.rung import Ground, Rung, chosen
from heedful.study.remedies.text import EVERY, FITTING, Material, Pieces, Tables, parted

__all__ = [
    "EVERY",
    "FITTING",
    "GROUP",
    "Ground",
    "Material",
    "Pieces",
    "Rung",
    "Subject",
    "Tables",
    "check_causal",
    "chosen",
    "climb",
    "missing_counts",
    "model_rungs",
    "parted",
    "rungs",
]
