"""Names of the files by which the folder of a training run is known."""

RECORD = "run.json"
"""What the run was begun with, beside its checkpoints."""
WHOLE = "whole.json"
"""Written into a checkpoint after everything else of it."""
