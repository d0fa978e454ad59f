"""Shared parts of all commands: options, inputs, progress, signals, exit codes."""
