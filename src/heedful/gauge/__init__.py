"""Gauge transformer, whose tokens are Gaussian beliefs in SO(3) irreps and attend by KL divergence: model, checks,
measures and charts.
"""
