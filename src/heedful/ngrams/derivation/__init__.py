"""Attention weights computed from n-gram counts: affinities, factors, embeddings, encoders."""
