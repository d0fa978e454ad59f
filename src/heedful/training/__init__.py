"""Train the reference decoder and the embedded model with transformers' Trainer."""
