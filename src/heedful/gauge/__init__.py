"""Gauge transformer: tokens are Gaussian beliefs in SO(3) irreps that attend by KL divergence; model, measures,
pages.
"""
