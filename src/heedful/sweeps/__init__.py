"""A plan (a product of axes, seeds named) into runs that resume, and one table."""
