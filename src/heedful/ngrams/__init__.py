"""From n-gram counts of a corpus to derived attention: count, derive, explain, align, remedy."""
