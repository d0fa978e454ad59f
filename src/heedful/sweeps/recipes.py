"""The recipes that a plan may name; what each needs is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from heedful.core.errors import UsageError
from heedful.loading.wording import escaped
from heedful.sweeps.recipe import Recipe


def _decoder() -> Recipe:
    from heedful.sweeps.training_recipe import training_recipe
    from heedful.training import RunSettings, train_decoder

    return training_recipe("decoder", RunSettings, train_decoder)


def _derived() -> Recipe:
    from heedful.sweeps.training_recipe import training_recipe
    from heedful.training import DerivedRunSettings, train_decoder

    return training_recipe("derived", DerivedRunSettings, train_decoder)


def _gauge() -> Recipe:
    from heedful.sweeps.belief_measures import beliefs
    from heedful.sweeps.gradient_measures import EveryStepLogged, gradients
    from heedful.sweeps.head_measures import MEASURES
    from heedful.sweeps.training_recipe import training_recipe
    from heedful.training import GaugeRunSettings, train_decoder

    measures = {**MEASURES, "beliefs": beliefs, "gradients": gradients}
    return training_recipe("gauge", GaugeRunSettings, train_decoder, measures=measures, callbacks=[EveryStepLogged])


def _random_attention() -> Recipe:
    from heedful.sweeps.random_attention import RandomAttention, random_attention

    return Recipe(name="random_attention", settings=RandomAttention, make=random_attention)


RECIPES: dict[str, Callable[[], Recipe]] = {
    "decoder": _decoder,
    "derived": _derived,
    "gauge": _gauge,
    "random_attention": _random_attention,
}
"""Name to what gives the recipe."""


def recipe_of(name: str) -> Recipe:
    """The recipe of a name.

    Args:
        name: A key of ``RECIPES``.

    Raises:
        UsageError: There is none of this name.
    """
    if name not in RECIPES:
        raise UsageError(f"recipe: expected one of {', '.join(RECIPES)}; got {escaped(name, 60)!r}")
    return RECIPES[name]()
