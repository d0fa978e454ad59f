"""Section 2: how far back does attention reach?"""

from __future__ import annotations

import numpy as np

from heedful.attention.axes import distance_label
from heedful.evaluation.registry import check
from heedful.evaluation.result import Finding
from heedful.evaluation.study import Study
from heedful.evaluation.unit_values import unit_values
from heedful.inference.mean_interval import SHARE, mean_interval
from heedful.inference.units import mean_of
from heedful.inference.verdict import Verdict

SOURCE = "mass in log-spaced distance bins over the mass of uniform attention on the same rows"


@check(
    section=2,
    source=SOURCE,
    descriptive=True,
    definition=2,
    meaning="Shows how far back the model reads: little mass beyond a distance means that longer contexts add little.",
)
def mass_by_distance(study: Study) -> list[Finding]:
    """Report mean attention mass by distance, compared with uniform attention. The check is descriptive and never
    gives PASS or FAIL.
    """
    if not study.observed.has("distance_mass"):
        return [Finding(claim="mass_by_distance", verdict=Verdict.SKIP, reason="no layer has distances", source=SOURCE)]
    actual = study.units(mean_of(study.observed.stacked("distance_mass"), axis=1))
    uniform = mean_of(study.units(mean_of(study.observed.stacked("distance_uniform"), axis=1)), axis=0)
    used = np.flatnonzero((uniform > 0) & np.isfinite(mean_of(actual, axis=0)))
    if not len(used):
        return [
            Finding(
                claim="mass_by_distance",
                verdict=Verdict.UNDEFINED,
                reason="no row sees enough keys with finite weights",
                source=SOURCE,
            )
        ]
    band = mean_interval(actual, within=SHARE)
    low, mid, high = (np.asarray(x) for x in (band.low, band.estimate, band.high))
    labels = [distance_label(int(k), int(used[-1])) for k in used]
    curve = [
        {"distance": label, "mass": mid[k], "low": low[k], "high": high[k], "uniform": uniform[k]}
        for label, k in zip(labels, used, strict=True)
    ]
    near = float(mid[:3].sum())
    shown = ", ".join(f"{row['distance']}: {row['mass']:.2f} ({row['uniform']:.2f})" for row in curve)
    return [
        Finding(
            claim="mass_by_distance",
            verdict=Verdict.INFO,
            reason=f"mean mass by distance (uniform share): {shown}",
            estimate=near,
            unit="mass within 3",
            n=study.n_documents,
            null=f"uniform over the same rows: {float(uniform[:3].sum()):.3g}",
            source=SOURCE,
            detail={"curve": curve},
            units=unit_values(actual[:, :3].sum(axis=1)),
        )
    ]
