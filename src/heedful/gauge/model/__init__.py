"""The gauge transformer as a transformers model."""
