"""A small page on key vectors, with one figure that has nothing to draw."""

from typing import Any

from heedful.monitoring.page.record import KeyFigure, KeyReport


def lines(groups: tuple[str, ...] = ("early (layer 0)", "final (layer 1)")) -> tuple[dict[str, Any], ...]:
    return tuple(
        {"panel": "mean key norm", "group": group, "step": step, "value": 8.0 + place, "low": 7.5, "high": 9.5}
        for place, group in enumerate(groups)
        for step in (0, 10)
    )


def figure(**changes: Any) -> KeyFigure:
    given = {
        "name": "key_norm_evolution",
        "title": "Norms",
        "paragraph": "They rose.",
        "rows": lines(),
        "reference": (8.0,),
    }
    return KeyFigure(**{**given, **changes})


def report(**changes: Any) -> KeyReport:
    empty = figure(name="outlier_magnitude", title="Outliers", paragraph="Nothing to draw.", rows=())
    given = {
        "subject": "<b>run</b>",
        "measured": "2 steps",
        "present": ("No gain <i>here</i>.",),
        "figures": (figure(), empty),
        "limits": "One run.",
    }
    return KeyReport(**{**given, **changes})
