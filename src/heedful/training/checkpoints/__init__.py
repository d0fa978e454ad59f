"""The tracker's table made afterwards, from checkpoints of any model that were not tracked while it was trained."""

from heedful.training.checkpoints.listing import Checkpoint, find_checkpoints
from heedful.training.checkpoints.reading import Reading, checkpoint_table

__all__ = ["Checkpoint", "Reading", "checkpoint_table", "find_checkpoints"]
