"""Statistical inference on plain arrays whose first axis is the independent unit: intervals, tests, power, verdicts."""
