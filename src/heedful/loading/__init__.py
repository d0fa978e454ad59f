"""Untrusted paths in, a model, a tokenizer and documents out."""
