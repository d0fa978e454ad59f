"""The reference decoder as a transformers model."""
