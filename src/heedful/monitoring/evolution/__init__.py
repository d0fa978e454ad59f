"""Figures on the key vectors of a run's table, with a paragraph each."""
