"""How often verdicts are wrong, and how often they find what is there, by simulation of the checks themselves.

Margins are put where the truth is: there, an interval may lie beyond its margin in 2.5 % of trials on either side.
"""

from heedful.calibration.calibrate import Answers, Calibration, Plan, calibrate
from heedful.calibration.claims import WITHOUT_TEST, experiments_of
from heedful.calibration.rate import Rate, pooled
from heedful.calibration.table import lines, to_document

__all__ = [
    "WITHOUT_TEST",
    "Answers",
    "Calibration",
    "Plan",
    "Rate",
    "calibrate",
    "experiments_of",
    "lines",
    "pooled",
    "to_document",
]
