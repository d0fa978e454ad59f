"""Untrusted paths in, a model, a tokenizer and documents out."""

from heedful.loading.documents import Documents, load_documents
from heedful.loading.factory import load_factory
from heedful.loading.loaded_model import LoadedModel, load_model
from heedful.loading.memory import ensure_fits
from heedful.loading.sequences import Sequences, make_sequences

__all__ = [
    "Documents",
    "LoadedModel",
    "Sequences",
    "ensure_fits",
    "load_documents",
    "load_factory",
    "load_model",
    "make_sequences",
]
