"""Two reports in, what changed between them out: paired where the documents are the same. Reads records alone."""

from heedful.comparison.compare import compare

__all__ = ["compare"]
