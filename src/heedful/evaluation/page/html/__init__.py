"""A report as one HTML page that loads and runs nothing from elsewhere."""
