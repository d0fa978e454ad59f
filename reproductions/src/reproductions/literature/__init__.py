"""Claims of the literature on trained models; ``python -P -m reproductions.literature`` measures."""

from reproductions.literature import activations, copying, encoders, removal, sinks

__all__ = ["activations", "copying", "encoders", "removal", "sinks"]
