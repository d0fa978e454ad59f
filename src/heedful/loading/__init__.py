"""Load models, tokenizers and documents from untrusted files."""
