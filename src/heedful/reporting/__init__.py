"""What pages are made of, and how they are shown, written and escaped. Knows no feature and no torch."""
