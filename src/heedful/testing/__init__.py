"""Assertions for the tests of your own model, and the pytest plugin.

An assertion that cannot be judged (too few documents, no loss, no row that sees enough keys) does not pass: it raises
and says so. The model's weights, flags, hooks and random state are as before afterwards.
"""
