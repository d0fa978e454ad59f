"""Figures on the key vectors of a run's table, each with a paragraph."""
