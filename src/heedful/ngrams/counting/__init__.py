"""Corpus to n-gram counts, on disk and merged by one grouped sum."""
