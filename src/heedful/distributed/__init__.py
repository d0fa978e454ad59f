"""Processes that divide documents or heads, and sums that merge."""
