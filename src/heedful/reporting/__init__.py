"""Building blocks of pages, and how they are shown, written and escaped. Imports no feature and no torch."""
