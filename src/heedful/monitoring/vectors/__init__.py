"""Statistics of query and key vectors, from sums that merge."""
