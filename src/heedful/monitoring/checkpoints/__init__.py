"""Build the tracker's table afterwards, from checkpoints of any model."""
