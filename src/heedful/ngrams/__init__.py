"""Derive attention from n-gram counts of a corpus: count, derive, explain, align, remedy."""
