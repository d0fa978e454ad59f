"""Engines that compute row and key moments of an attention call without a (query, key) matrix."""
