"""Statistics of query and key vectors, from mergeable sums."""
