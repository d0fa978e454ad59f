"""Attention variants of the reference decoder, one per file; its config selects one by name."""
