"""Lay out the data of a run as a page for the terminal and HTML."""

from __future__ import annotations

import math
from collections.abc import Callable

from heedful.monitoring.page.charts import key_chart
from heedful.monitoring.page.record import Beside, KeyFigure, WatchReport
from heedful.reporting.drawing import Drawn
from heedful.reporting.pages.part import Page, PagePart
from heedful.reporting.shown_record import counted

SHOWN = 40
"""Alarms that are shown; the table has all."""


def watch_page(report: WatchReport) -> Page:
    """Build the page on a run or on checkpoints from its data.

    Args:
        report: What to show.
    """
    keys = report.keys
    state = f"step {report.step}, {'in progress' if report.running else 'ended'}"
    parts = [
        PagePart(title="What was measured", text=" ".join((keys.measured, *keys.present))),
        _alarms(report),
        *(_figure(figure) for figure in report.curves if figure.rows),
        _beside("Heads beside one another", report.heads),
        _beside("Steps beside one another", report.steps),
        *([] if report.runs is None else [_beside("Two runs beside one another", report.runs)]),
        *(_figure(figure) for figure in keys.figures),
        PagePart(title="What none of the figures shows", text=keys.limits),
    ]
    subject = report.subject if keys.present and not report.curves else f"{report.subject}: {state}"
    return Page(title="Attention in training", subject=subject, parts=parts, refresh=report.refresh)


def _figure(figure: KeyFigure) -> PagePart:
    chart: Callable[[], Drawn] | None = (lambda: key_chart(figure)) if figure.rows else None
    return PagePart(title=figure.title, text=figure.paragraph, chart=chart)


def _alarms(report: WatchReport) -> PagePart:
    if not report.alarms:
        return PagePart(title="Alarms", text="None so far." if report.running else "None.")
    shown = report.alarms[-SHOWN:]
    rows = [(alarm.kind, str(alarm.step), _place(alarm.layer, alarm.head)) for alarm in shown]
    said = {alarm.kind: alarm for alarm in shown}
    more = "" if len(shown) == len(report.alarms) else f"The last {SHOWN} of {counted(len(report.alarms), 'alarm')}. "
    last = f"Last: step {shown[-1].step}, {shown[-1].message}. "
    advice = " ".join(f"{kind}: {alarm.advice}." for kind, alarm in said.items())
    return PagePart(title="Alarms", header=("kind", "step", "first head"), rows=rows, text=f"{more}{last}{advice}")


def _place(layer: int | None, head: int | None) -> str:
    if layer is None:
        return "-"
    return f"L{layer}" if head is None else f"L{layer}H{head}"


def _beside(title: str, numbers: Beside) -> PagePart:
    if not numbers.rows:
        return PagePart(title=title, text=numbers.text)
    rows = [(name, *(_number(value) for value in values)) for name, values in numbers.rows]
    return PagePart(title=title, header=("number", *numbers.columns), rows=rows, text=numbers.text)


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"
