"""Explain why derived attention is diffuse, sharp or on the wrong keys."""
