"""Why derived attention is flat, sharp or elsewhere."""
