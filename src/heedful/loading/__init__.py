"""Untrusted paths in, a model, a tokenizer and documents out."""

from heedful.loading.documents import Documents, load_documents
from heedful.loading.factory import load_factory
from heedful.loading.learnt_tokenizer import bpe_tokenizer, character_tokenizer, seed_tokenizer
from heedful.loading.loaded_model import LoadedModel, load_model
from heedful.loading.memory import ensure_fits
from heedful.loading.sequences import Sequences, make_sequences
from heedful.loading.text_corpus import TextCorpus
from heedful.loading.token_encoder import TokenEncoder

__all__ = [
    "Documents",
    "LoadedModel",
    "Sequences",
    "TextCorpus",
    "TokenEncoder",
    "bpe_tokenizer",
    "character_tokenizer",
    "ensure_fits",
    "load_documents",
    "load_factory",
    "load_model",
    "make_sequences",
    "seed_tokenizer",
]
