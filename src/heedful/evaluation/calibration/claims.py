"""The simulation that calibrates each claim, or the reason why a claim has none."""

from __future__ import annotations

from heedful.evaluation.calibration.correlation import CLAIM as CORRELATION
from heedful.evaluation.calibration.faults import FAULTS
from heedful.evaluation.calibration.fresh import EXACT, LEARNED
from heedful.evaluation.calibration.intervals import AT_MARGIN, LABELLED
from heedful.evaluation.calibration.losses import CLAIM_OF

_EXACT = "exact, and of models with beliefs alone, which need an extra: its own tests plant the fault"

WITHOUT_TEST = {
    "divergence_is_proper": _EXACT,
    "global_rotation_is_unseen": _EXACT,
    "tables_learn_through_attention": _EXACT,
    "beliefs_are_diverse": "a description: it makes no claim that could be false (verdict INFO)",
    "mass_by_distance": "a description: it makes no claim that could be false (verdict INFO)",
    "ablation_signature": "a name for five intervals (verdict INFO): their own rates are those of the five claims of "
    "section 9",
}
"""Claims without a rate of their own, and why."""


def experiments_of(claim: str) -> list[str]:
    """Return the names of the simulations that calibrate a claim; an empty list if there are none.

    Args:
        claim: Registry name.

    Returns:
        Their names; empty where it has no test, for which ``WITHOUT_TEST`` gives the reason.
    """
    behind = {
        "planted attention, margin at the truth": {one.claim for one in AT_MARGIN} | {LABELLED},
        "paired losses of known mean": set(CLAIM_OF.values()),
        "layers of known correlation": {CORRELATION},
        "fresh models": {*EXACT, *LEARNED},
        "planted faults": set(FAULTS),
    }
    return [name for name, claims in behind.items() if claim in claims]
