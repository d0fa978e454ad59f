"""Load untrusted files: a model, a tokenizer and documents."""
