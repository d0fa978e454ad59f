"""Registry of recipes that plans can name, imported on first use."""

from __future__ import annotations

from collections.abc import Callable

from heedful.errors import UsageError
from heedful.loading.wording import escaped
from heedful.plugins import Registry
from heedful.training.sweeps.recipe import SweepRecipe

RECIPES: Registry[Callable[[], SweepRecipe]] = Registry("recipes", "recipe")
"""Name to what gives the recipe."""


def recipe_of(name: str) -> SweepRecipe:
    """Return a recipe by name.

    Args:
        name: A key of ``RECIPES``.

    Raises:
        UsageError: There is none of this name.
    """
    if name not in RECIPES:
        raise UsageError(f"recipe: expected one of {', '.join(sorted(RECIPES))}; got {escaped(name, 60)!r}")
    return RECIPES[name]()
