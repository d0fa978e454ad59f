"""Register gauge training as a sweep recipe."""

from heedful.training.sweeps.recipe import RECIPES, SweepRecipe


def gauge_recipe() -> SweepRecipe:
    """Return the sweep recipe that trains a gauge model and also measures its beliefs and gradients."""
    from heedful.gauge.belief_measures import beliefs
    from heedful.gauge.run_settings import GaugeRunSettings
    from heedful.training.decoder_run import train_decoder
    from heedful.training.sweeps.head_measures import MEASURES, EveryStepLogged, gradients
    from heedful.training.sweeps.training_recipe import training_recipe

    measures = {**MEASURES, "beliefs": beliefs, "gradients": gradients}
    return training_recipe("gauge", GaugeRunSettings, train_decoder, measures=measures, callbacks=[EveryStepLogged])


RECIPES.add("gauge", gauge_recipe)
