"""What fewer bits, heads and layers cost: key quantization and pruning on held-out text."""
