"""A small page on a run, with one figure that has nothing to draw."""

from typing import Any

from heedful.monitoring.page.record import Beside, KeyFigure, KeyReport, RaisedAlarm, WatchReport


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


def keys(**changes: Any) -> KeyReport:
    empty = figure(name="outlier_magnitude", title="Outliers", paragraph="Nothing to draw.", rows=())
    given = {
        "subject": "<b>run</b>",
        "measured": "2 steps",
        "present": ("No gain <i>here</i>.",),
        "figures": (figure(), empty),
        "limits": "One run.",
    }
    return KeyReport(**{**given, **changes})


def alarm(**changes: Any) -> RaisedAlarm:
    given = {
        "step": 120,
        "kind": "logits",
        "layer": 1,
        "head": 2,
        "message": "logits: L1H2 <b>",
        "advice": "Use QK-norm",
    }
    return RaisedAlarm(**{**given, **changes})


def report(**changes: Any) -> WatchReport:
    given = {
        "subject": "<b>run</b>",
        "running": True,
        "step": 130,
        "alarms": (alarm(),),
        "curves": (figure(name="sinks", title="Sinks", paragraph="No sink.", reference=()),),
        "heads": Beside(columns=("L0H0", "L1H2"), rows=(("max_logit", (3.0, 120.0)),), text="Two heads."),
        "steps": Beside(columns=("step 1", "step 130"), rows=(("loss", (5.0, float("nan"))),), text="Two steps."),
        "runs": None,
        "keys": keys(),
    }
    return WatchReport(**{**given, **changes})
