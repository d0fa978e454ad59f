"""Measure the loss increase on held-out text from key quantization and from pruning heads, layers and dimensions."""
