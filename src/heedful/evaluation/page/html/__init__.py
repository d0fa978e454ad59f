"""Render a report as one self-contained HTML page that loads nothing from elsewhere."""
