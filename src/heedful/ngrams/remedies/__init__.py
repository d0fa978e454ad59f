"""Remedies for derived attention: variants that change one thing each, measured on one text."""
