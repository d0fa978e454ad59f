"""Turn a plan (a product of axes and seeds) into runs that resume, and one table."""
