"""Pages made of parts (a table, paragraph and figure each), for terminal, HTML and JSON."""
