"""From a corpus to n-gram counts on disk, merged by one grouped sum."""
