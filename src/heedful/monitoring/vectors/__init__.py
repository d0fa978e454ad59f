"""Query and key vectors themselves, which no weight shows: sums that merge, and numbers for each head."""
