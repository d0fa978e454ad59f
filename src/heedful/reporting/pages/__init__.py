"""Pages of parts (a table, a paragraph, a figure each) on a terminal, as HTML and as JSON."""
