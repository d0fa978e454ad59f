"""List of a report's figures, in page order."""

from heedful.evaluation.page.figures.ablation_forest import ABLATION_FOREST
from heedful.evaluation.page.figures.concentration_by_layer import CONCENTRATION_BY_LAYER
from heedful.evaluation.page.figures.concentration_map import CONCENTRATION_MAP
from heedful.evaluation.page.figures.distance_by_layer import DISTANCE_BY_LAYER
from heedful.evaluation.page.figures.entropy_by_layer import ENTROPY_BY_LAYER
from heedful.evaluation.page.figures.mass_by_distance import MASS_BY_DISTANCE

FIGURES = (
    ENTROPY_BY_LAYER,
    CONCENTRATION_BY_LAYER,
    MASS_BY_DISTANCE,
    DISTANCE_BY_LAYER,
    ABLATION_FOREST,
    CONCENTRATION_MAP,
)
