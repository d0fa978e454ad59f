"""Importing this registers every claim; a page of stored answers does without, and without what topics import."""

from heedful.experiments import gauge, keys

__all__ = ["gauge", "keys"]
