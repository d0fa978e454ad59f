"""Train models with derived attention: run settings, drift of the embeddings, facts about the run folder."""
