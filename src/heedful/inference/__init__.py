"""Intervals, tests, multiplicity, power and the verdict rule. Plain arrays whose first axis is the unit."""
