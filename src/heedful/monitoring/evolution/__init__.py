"""From the table of a run to figures on its key vectors, with a paragraph each."""
