"""Training models with derived attention: settings of a run, drift of its embeddings, facts of its folder."""
