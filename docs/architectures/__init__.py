"""What ``docs/architectures.md`` is made of: tiny models, what they are given, and what is proved of each."""
