"""Engines: an attention call in, moments of its rows and keys out, without a (query, key) matrix."""
