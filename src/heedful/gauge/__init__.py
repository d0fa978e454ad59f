"""Gaussian beliefs in SO(3) irreps: generators, frames, transport, divergences. No model lives here."""
