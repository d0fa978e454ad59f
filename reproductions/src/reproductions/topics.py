"""Import this module to register every claim; showing stored answers does not need it."""

from reproductions import counts, gauge, keys, literature

__all__ = ["counts", "gauge", "keys", "literature"]
