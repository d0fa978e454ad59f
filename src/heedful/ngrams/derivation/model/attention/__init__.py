"""Attention whose matrices are computed from counts."""
