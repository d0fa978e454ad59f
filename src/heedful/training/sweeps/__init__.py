"""Expand a plan (axes times seeds) into resumable runs and one results table."""
