"""Build, from saved checkpoints of any model, the table that the tracker would have written during training."""
