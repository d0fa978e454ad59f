"""What commands share: options, inputs, progress, signals, exit codes."""
