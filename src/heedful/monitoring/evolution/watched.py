"""Build the data of the page on a run from its table: curves, alarms, and comparisons of heads, steps and runs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars

from heedful.errors import UsageError
from heedful.monitoring.evolution.figures import report_of
from heedful.monitoring.evolution.pairs import over_steps
from heedful.monitoring.evolution.rows import KeyRows, layers_grouped, rows_of
from heedful.monitoring.page.record import Beside, KeyFigure, RaisedAlarm, WatchReport
from heedful.monitoring.tracker.scalars import SCALARS
from heedful.monitoring.tracker.table import PARTS

HEAD = re.compile(r"L(\d+)H(\d+)")
OF_HEADS = (
    "max_logit", "row_entropy", "entropy_min", "entropy_share", "concentration", "effective_keys", "max_weight",
    "sink_mass", "strongest_mass", "previous_mass", "self_mass", "local_mass", "logit_sd",
)  # fmt: skip
"""Columns of heads that are set beside one another."""

OF_KEYS = ("norm_mean", "global_max", "effective_rank")
"""Columns of a head's queries, and of the keys that it reads."""


def watch_report(
    table: polars.DataFrame,
    subject: str,
    *,
    running: bool = False,
    heads: Sequence[str] = (),
    steps: Sequence[int] = (),
    against: tuple[polars.DataFrame, str] | None = None,
    groups: str | None = None,
    refresh: int | None = None,
) -> WatchReport:
    """Build the data of the page on a run or on checkpoints from its table.

    Args:
        table: Of a run, or of checkpoints.
        subject: What it is of, as the user named it.
        running: Whether the run goes on.
        heads: Heads to set beside one another, ``L0H3``; without any those of the largest and the least largest logit.
        steps: Steps to set beside one another; without any the first and the last full record.
        against: Another run's table and name.
        groups: Groups of layers that lines are of, ``0-3,4-18,19-21``; None for thirds.
        refresh: Seconds after which a browser loads the page again.

    Raises:
        InputRejected: The table lacks a column, or holds no keys.
        UsageError: A head or step is not in the table.
    """
    rows = rows_of(table, subject, groups)
    return WatchReport(
        subject=subject,
        running=running,
        step=int(table.select(polars.col("step").max()).item()),
        alarms=_alarms(table),
        curves=tuple(figure for figure in _curves(table, rows, subject, against, groups) if figure.rows),
        heads=_heads(table, rows, heads),
        steps=_steps(table, rows, steps),
        runs=None if against is None else _runs(table, subject, *against),
        keys=report_of(rows, subject),
        refresh=refresh,
    )


def is_running(run: str | Path) -> bool:
    """Return whether a run's tracker has not ended yet: its folder of table parts exists until then."""
    return (Path(run) / PARTS).is_dir()


def _alarms(table: polars.DataFrame) -> tuple[RaisedAlarm, ...]:
    found = table.filter(polars.col("alarm").is_not_null())
    return tuple(
        RaisedAlarm(
            step=row["step"],
            kind=row["label"] or row["alarm"].partition(":")[0],
            layer=row["layer"],
            head=row["head"],
            message=row["alarm"],
            advice=row["note"] or "",
        )
        for row in found.iter_rows(named=True)
    )


def _curves(
    table: polars.DataFrame,
    rows: KeyRows,
    subject: str,
    against: tuple[polars.DataFrame, str] | None,
    groups: str | None,
) -> list[KeyFigure]:
    runs = [
        (table, subject if against is None else "this run"),
        *([] if against is None else [(against[0], "the other")]),
    ]
    loss = [row for frame, name in runs for row in _whole(frame, name)]
    if rows.single:
        return [KeyFigure(name="loss_and_gradient", title="Loss and gradient", paragraph="", rows=())]
    attention = layers_grouped(table.filter(polars.col("part") == "attention"), groups)
    logits = _panels(attention, max_logit="largest logit", entropy_share="entropy / most possible")
    sinks = _panels(attention, sink_mass="weight on the first key", strongest_mass="weight on the strongest key")
    return [
        KeyFigure(
            name="loss_and_gradient",
            title="Loss and gradient",
            paragraph="Loss in nats per token and the norm of all gradients at each recorded step.",
            rows=tuple(loss),
        ),
        KeyFigure(
            name="logits_and_entropy",
            title="Largest logit and entropy",
            paragraph="Lines are means over the heads of a group of layers, bands the range over them. Logits that "
            "leave their band upwards while entropy falls foretell a training that diverges.",
            rows=logits,
        ),
        KeyFigure(
            name="sinks",
            title="Sinks",
            paragraph="Mean weight on the first key, and on the key that draws most; above .3 a head is a sink.",
            rows=sinks,
        ),
    ]


def _whole(table: polars.DataFrame, group: str) -> list[dict[str, Any]]:
    found = []
    steps = table.filter((polars.col("part") == "step") & polars.col("alarm").is_null()).sort("step")
    for name, panel in (("loss", "loss (nat/token)"), ("gradient_norm", "norm of all gradients")):
        if name in steps.columns:
            known = steps.filter(polars.col(name).is_finite())
            pairs = zip(known["step"].to_list(), known[name].to_list(), strict=True)
            found += [{"panel": panel, "group": group, "step": s, "value": v, "low": v, "high": v} for s, v in pairs]
    return found


def _panels(frame: polars.DataFrame, **panels: str) -> tuple[dict[str, Any], ...]:
    return tuple(
        row for name, panel in panels.items() if name in frame.columns for row in over_steps(frame, name, panel)
    )


def _heads(table: polars.DataFrame, rows: KeyRows, wanted: Sequence[str]) -> Beside:
    step = rows.steps[-1]
    last = table.filter(polars.col("step") == step)
    attention = last.filter(polars.col("part") == "attention")
    by = "max_logit" if "max_logit" in attention.columns else "logit_sd"
    order = attention.filter(polars.col(by).is_finite()).sort(by, "layer", "head", descending=[True, False, False])
    places = [_head(name) for name in wanted] or [(row["layer"], row["head"]) for row in _ends(order)]
    columns = []
    for layer, head in places:
        own = (polars.col("layer") == layer) & (polars.col("head") == head)
        found = attention.filter(own)
        if found.is_empty():
            raise UsageError(
                f"head L{layer}H{head}: expected one of the {attention.height} heads of step {step}, found none"
            )
        values = {name: _value(found, name) for name in OF_HEADS if name in table.columns}
        sharing = attention.filter(polars.col("layer") == layer).height
        for part in ("query", "key"):
            of_part = last.filter((polars.col("part") == part) & (polars.col("stage") == "after"))
            of_layer = of_part.filter(polars.col("layer") == layer)
            place = head if part == "query" else head * of_layer.height // max(1, sharing)
            one = of_layer.filter(polars.col("head") == place)
            values |= {f"{part}_{name}": _value(one, name) for name in OF_KEYS if name in table.columns}
        columns.append(values)
    names = [name for name in (columns[0] if columns else {}) if any(math.isfinite(one[name]) for one in columns)]
    told = "of the largest and of the least largest logit" if not wanted else "that were named"
    return Beside(
        columns=tuple(f"L{layer}H{head}" for layer, head in places),
        rows=tuple((name, tuple(one[name] for one in columns)) for name in names),
        text=f"Heads {told}, at step {step}: means over sequences of their rows. --head L0H3 --head L2H1 sets any "
        "two or more beside one another.",
    )


def _ends(order: polars.DataFrame) -> list[dict[str, Any]]:
    rows = order.to_dicts()
    return rows[:1] + rows[-1:] if len(rows) > 1 else rows


def _head(name: str) -> tuple[int, int]:
    found = HEAD.fullmatch(name.strip())
    if found is None:
        raise UsageError(f"--head {name}: expected a layer and a head such as L0H3")
    return int(found[1]), int(found[2])


def _value(frame: polars.DataFrame, name: str) -> float:
    value = frame[name][0] if frame.height and name in frame.columns else None
    return math.nan if value is None else float(value)


def scalars_at(table: polars.DataFrame, step: int) -> dict[str, float]:
    """Return loss, gradient norm and the ``SCALARS`` over all heads at one step, by name; NaN where undefined.

    Args:
        table: Of a run.
        step: One of its steps.
    """
    own = table.filter(polars.col("step") == step)
    whole = own.filter((polars.col("part") == "step") & polars.col("alarm").is_null())
    found = {name: _value(whole, name) for name in ("loss", "gradient_norm")}
    for name, (part, column, together) in SCALARS.items():
        rows = own.filter((polars.col("part") == part) & polars.col("stage").fill_null("after").eq("after"))
        known = [
            v for v in (rows[column].to_list() if column in rows.columns else []) if v is not None and math.isfinite(v)
        ]
        found[name] = together(known) if known else math.nan
    return found


def _steps(table: polars.DataFrame, rows: KeyRows, wanted: Sequence[int]) -> Beside:
    recorded = set(table["step"].to_list())
    wrong = [step for step in wanted if step not in recorded]
    if wrong:
        near = min(recorded, key=lambda one: abs(one - wrong[0]))
        raise UsageError(f"--step {wrong[0]}: expected a recorded step, the nearest is {near}")
    places = list(wanted) or list(dict.fromkeys((rows.steps[0], rows.steps[-1])))
    columns = [scalars_at(table, step) for step in places]
    text = "Over all heads, as in the logs. --step 100 --step 600 sets any two or more beside one another."
    return Beside(columns=tuple(f"step {step}" for step in places), rows=_table(columns), text=text)


def _runs(table: polars.DataFrame, subject: str, other: polars.DataFrame, name: str) -> Beside:
    both = [frame.filter(polars.col("part") == "key") for frame in (table, other)]
    common = sorted(set(both[0]["step"].to_list()) & set(both[1]["step"].to_list()))
    if not common:
        return Beside(columns=(), rows=(), text=f"{subject} and {name} recorded no step in common.")
    columns = [scalars_at(frame, common[-1]) for frame in (table, other)]
    text = (
        f"{subject} beside {name} at step {common[-1]}, the last that both recorded. One run each: a difference here "
        "may be that of two seeds."
    )
    return Beside(columns=("this run", "the other"), rows=_table(columns), text=text)


def _table(columns: Sequence[dict[str, float]]) -> tuple[tuple[str, tuple[float, ...]], ...]:
    names = [name for name in columns[0] if any(math.isfinite(one[name]) for one in columns)]
    return tuple((name, tuple(one[name] for one in columns)) for name in names)
