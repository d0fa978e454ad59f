"""Two reports in, what changed between them out. Reads records alone."""
