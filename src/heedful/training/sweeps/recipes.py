"""The recipes that a plan may name; what each needs is loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable

from heedful.errors import UsageError
from heedful.loading.wording import escaped
from heedful.training.sweeps.recipe import Recipe


def _decoder() -> Recipe:
    from heedful.training.decoder_run import train_decoder
    from heedful.training.run_settings import RunSettings
    from heedful.training.sweeps.training_recipe import training_recipe

    return training_recipe("decoder", RunSettings, train_decoder)


def _derived() -> Recipe:
    from heedful.ngrams.derivation.run_settings import DerivedRunSettings
    from heedful.training.decoder_run import train_decoder
    from heedful.training.sweeps.training_recipe import training_recipe

    return training_recipe("derived", DerivedRunSettings, train_decoder)


def _gauge() -> Recipe:
    from heedful.gauge.belief_measures import beliefs
    from heedful.gauge.run_settings import GaugeRunSettings
    from heedful.training.decoder_run import train_decoder
    from heedful.training.sweeps.gradient_measures import EveryStepLogged, gradients
    from heedful.training.sweeps.head_measures import MEASURES
    from heedful.training.sweeps.training_recipe import training_recipe

    measures = {**MEASURES, "beliefs": beliefs, "gradients": gradients}
    return training_recipe("gauge", GaugeRunSettings, train_decoder, measures=measures, callbacks=[EveryStepLogged])


def _random_attention() -> Recipe:
    from heedful.training.sweeps.random_attention import RandomAttention, random_attention

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
