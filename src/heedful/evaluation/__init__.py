"""Evaluate a model on text: measure attention, compare with null models, ablate, judge, and report."""
