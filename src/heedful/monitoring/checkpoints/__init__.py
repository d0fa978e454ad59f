"""The tracker's table, measured afterwards from checkpoints of any model."""
