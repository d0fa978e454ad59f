"""Pages made of tables, paragraphs and figures, for terminal, HTML and JSON."""
