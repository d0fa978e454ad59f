"""Attention, queries and keys recorded while a model is trained: one table a run."""
