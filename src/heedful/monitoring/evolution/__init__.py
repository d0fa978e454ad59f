"""Figures on key vectors, each with a paragraph, from the tracker's table of a run."""
