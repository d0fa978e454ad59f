"""Count n-grams of a corpus to disk and merge the shards."""
