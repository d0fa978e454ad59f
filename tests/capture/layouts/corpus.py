"""All layouts: importing this registers every room."""

from importlib import import_module

from tests.capture.layouts.layout import LAYOUTS

ROOMS = ("flattening", "einsums", "products", "hiding", "padding", "fused", "not_over_tokens", "changed_weights")
ROOMS += ("names", "calls", "partial", "transforms", "torch_layers", "blind", "gathered")

for room in ROOMS:
    import_module(f"tests.capture.layouts.{room}")

__all__ = ["LAYOUTS", "ROOMS"]
