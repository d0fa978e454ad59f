"""What the keys mean: quantising them, pruning heads and layers, priced on held-out text against random choice."""
