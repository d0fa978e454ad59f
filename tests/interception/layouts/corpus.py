"""All layouts: importing this registers every room."""

from importlib import import_module

from tests.interception.layouts.layout import LAYOUTS

ROOMS = ("flattening", "einsums", "products", "hiding", "padding", "fused", "not_over_tokens", "changed_weights")
ROOMS += ("names", "calls", "partial", "transforms", "torch_layers", "blind", "gathered")

for room in ROOMS:
    import_module(f"tests.interception.layouts.{room}")

__all__ = ["LAYOUTS", "ROOMS"]
