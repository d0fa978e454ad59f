"""Record attention, queries and keys while a model is trained, in one table per run."""
