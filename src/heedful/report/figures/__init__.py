"""Declarative figures of a report, one a file, and how they become SVG and PNG without a browser or a network."""

from heedful.report.figures.ablation_forest import ABLATION_FOREST
from heedful.report.figures.concentration_by_layer import CONCENTRATION_BY_LAYER
from heedful.report.figures.concentration_map import CONCENTRATION_MAP
from heedful.report.figures.distance_by_layer import DISTANCE_BY_LAYER
from heedful.report.figures.drawing import Drawn, drawn, png, svg
from heedful.report.figures.entropy_by_layer import ENTROPY_BY_LAYER
from heedful.report.figures.mass_by_distance import MASS_BY_DISTANCE

FIGURES = (
    ENTROPY_BY_LAYER,
    CONCENTRATION_BY_LAYER,
    MASS_BY_DISTANCE,
    DISTANCE_BY_LAYER,
    ABLATION_FOREST,
    CONCENTRATION_MAP,
)

__all__ = ["FIGURES", "Drawn", "drawn", "png", "svg"]
