"""Building blocks of pages: rendering, writing and escaping. Imports no feature and no torch."""
