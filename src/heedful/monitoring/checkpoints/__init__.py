"""The tracker's table, computed afterwards from checkpoints of any model."""
