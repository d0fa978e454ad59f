"""Attention, queries and keys watched while a model is trained: one table a run, one line a recorded step."""

from heedful.training.tracker.attention_tracker import AttentionTracker
from heedful.training.tracker.table import TrackTable, read_table

__all__ = ["AttentionTracker", "TrackTable", "read_table"]
