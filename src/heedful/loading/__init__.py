"""Untrusted files in; a model, a tokenizer and documents out."""
