"""Register training's recipes: the reference decoder, and attention between random vectors."""

from heedful.training.sweeps.recipe import SweepRecipe
from heedful.training.sweeps.recipes import RECIPES


def decoder_recipe() -> SweepRecipe:
    """Return the recipe that trains the reference decoder."""
    from heedful.training.decoder_run import train_decoder
    from heedful.training.run_settings import RunSettings
    from heedful.training.sweeps.training_recipe import training_recipe

    return training_recipe("decoder", RunSettings, train_decoder)


def random_attention_recipe() -> SweepRecipe:
    """Return the recipe that measures attention between random queries and keys, without training."""
    from heedful.training.sweeps.random_attention import RandomAttention, random_attention

    return SweepRecipe(name="random_attention", settings=RandomAttention, make=random_attention)


RECIPES.add("decoder", decoder_recipe)
RECIPES.add("random_attention", random_attention_recipe)
