"""Compute attention weights from n-gram counts: affinity matrices, factors, embeddings, encoders."""
