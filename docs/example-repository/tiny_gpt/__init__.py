"""A tiny language model of bytes."""
