"""Page on the key vectors of a run: five figures, each with a paragraph."""
