"""Figures of a report, one a file."""
