"""State which inputs of the key figures (rotation, shared keys, gains) a run has and which are missing."""

from __future__ import annotations

from heedful.interception.unrotated import NOT_ROTATED
from heedful.monitoring.evolution.rows import KeyRows
from heedful.reporting.quantity import count

SHOWN = 4
"""Notes that are shown; the table has all."""


def present(rows: KeyRows) -> tuple[str, ...]:
    """Return sentences on the run's rotation, shared keys and gains, on its text if one was given, and on notes.

    Args:
        rows: Those of the run.
    """
    said = [_rotation(rows), _shared(rows.sharing), _gains(rows)]
    if rows.text:
        who = "The checkpoint read" if rows.single else "Every checkpoint read the same"
        belongs = "loss, gradients, weight decay and alarms belong to a training, and no checkpoint holds them."
        said.insert(0, f"{who} {rows.text}; {belongs}")
    if rows.notes:
        more = f"; and {count(len(rows.notes) - SHOWN, 'note')} more" if len(rows.notes) > SHOWN else ""
        said.append(f"Noted: {'; '.join(rows.notes[:SHOWN])}{more}.")
    return tuple(said)


def _rotation(rows: KeyRows) -> str:
    if rows.stage == "before":
        return "Keys are those before their rotation, unless another is named."
    if rows.unrotated == (NOT_ROTATED,):
        return "This model does not rotate its keys, so there is no before and after."
    reasons = "; ".join(rows.unrotated) or "no layer, or not every layer, showed them"
    return f"Keys are those that attention meets; before a rotation they are not known: {reasons}."


def _shared(numbers: list[int]) -> str:
    if numbers == [1]:
        return "Every query head has keys of its own."
    return (
        f"A key head serves {' or '.join(map(str, numbers))} query heads." if numbers else "No query head was captured."
    )


def _gains(rows: KeyRows) -> str:
    layers = rows.gains["layer"].n_unique() if len(rows.gains) else 0
    if layers:
        return f"Gains of key norms are known in {count(layers, 'layer')}."
    return "No gain of a key norm was found: this model does not normalise its keys, so nothing sets their norm."
