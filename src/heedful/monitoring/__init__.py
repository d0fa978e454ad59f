"""Track queries, keys and heads during training or over checkpoints."""
