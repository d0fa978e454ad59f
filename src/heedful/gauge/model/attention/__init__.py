"""Attention by KL divergence between beliefs."""
