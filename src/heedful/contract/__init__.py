"""Test which attention properties config and batch promise (mask, scale, positions), and whether kernels have them."""
