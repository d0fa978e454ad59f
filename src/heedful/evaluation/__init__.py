"""A model and its text in, a report out: evidence, nulls, ablation, judging."""
