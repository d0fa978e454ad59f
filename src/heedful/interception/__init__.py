"""A running model in, its attention calls out. Every hook is removed afterwards."""
