"""Gaussian beliefs in SO(3) irreps, attention by KL divergence: algebra, model, measures, pages."""
