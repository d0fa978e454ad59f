"""Split documents or heads over processes, and merge their sums."""
