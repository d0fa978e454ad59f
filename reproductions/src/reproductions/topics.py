"""Import this module to register every claim; showing stored answers does not need it."""

from reproductions import counts, gauge, keys

__all__ = ["counts", "gauge", "keys"]
