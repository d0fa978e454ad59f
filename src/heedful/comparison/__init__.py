"""Compare two reports. Uses their records only, never a model."""
