"""Compare two reports from their records, without a model."""
