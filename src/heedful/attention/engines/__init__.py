"""Engines: compute the moments of an attention call's rows and keys without a (query, key) matrix."""
