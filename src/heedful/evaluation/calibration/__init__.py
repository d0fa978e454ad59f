"""Simulate the checks to estimate the error rates and the power of their verdicts."""
