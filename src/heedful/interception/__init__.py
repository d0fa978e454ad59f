"""Attach to a running model and read its attention calls. Every hook is removed afterwards."""
