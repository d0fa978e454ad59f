"""A report as terminal page, JSON, JUnit, Markdown and head table."""
