"""Attention variants of the reference decoder, one a file; the decoder's config names one by its key."""
