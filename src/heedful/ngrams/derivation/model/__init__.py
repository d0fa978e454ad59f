"""The model with derived attention for transformers, and its control models."""
