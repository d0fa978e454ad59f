"""Register training of models with derived attention as a sweep recipe."""

from heedful.training.sweeps.recipe import SweepRecipe
from heedful.training.sweeps.recipes import RECIPES


def derived_recipe() -> SweepRecipe:
    """Return the recipe that trains the parts of a model not derived from counts."""
    from heedful.ngrams.training.run_settings import DerivedRunSettings
    from heedful.training.decoder_run import train_decoder
    from heedful.training.sweeps.training_recipe import training_recipe

    return training_recipe("derived", DerivedRunSettings, train_decoder)


RECIPES.add("derived", derived_recipe)
