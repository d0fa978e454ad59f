"""Attention modules with matrices computed from counts."""
