"""Render a report for the terminal, or as JSON, JUnit, Markdown or head table."""
