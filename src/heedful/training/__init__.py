"""The reference decoder, runs on transformers' Trainer, and the embedded model."""
