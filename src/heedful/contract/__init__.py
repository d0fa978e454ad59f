"""Check a model against the attention properties (mask, scale, positions) that its config and batch promise, in its
kernels and by its behaviour.
"""
