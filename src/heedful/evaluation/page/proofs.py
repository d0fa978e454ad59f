"""Proofs of a capture, as the lines of a terminal and as a page."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from heedful.reporting.pages.part import Page, PagePart

if TYPE_CHECKING:
    from heedful.evaluation.doctor import CaptureProofs
    from heedful.interception.verify import Proof

NOTHING = "no module of this model looks like attention, and no attention call was captured"
WIDTH = 80
SHOWN_NAMES = 2


def proof_lines(found: CaptureProofs) -> list[str]:
    """The proofs of a model, as lines of text.

    Args:
        found: The proofs.
    """
    table = lines(found.proofs) if found.proofs else [found.headless or NOTHING]
    return [*table, *(f"note: {note}" for note in found.notes)]


def proof_page(found: CaptureProofs) -> Page:
    """The same proofs as a page.

    Args:
        found: The proofs.
    """
    rows = [
        (
            _named(proof),
            proof.way or "not captured",
            _judged(proof.recomputed, proof.error),
            _judged(proof.replaced, proof.moved),
        )
        for proof in found.proofs
    ]
    why = [" ".join(reason.split()) for reason in _reasons(found.proofs) if reason]
    told = f"{found.met} of {len(found.proofs)} modules captured, {found.proved} proved both ways."
    return Page(
        title="How attention is captured",
        subject=f"{found.model}: {told if found.proofs else found.headless or NOTHING}",
        parts=[
            PagePart(
                title="Modules",
                header=("module", "way in", "recomputed", "replaced") if rows else (),
                rows=rows,
                text=(
                    "recomputed: the module's output follows from what was recorded, with the relative error; "
                    "replaced: the model's output moves without it, with the relative change; - where not known. "
                )
                + " ".join(why),
            ),
            *(PagePart(title="Note", text=note) for note in found.notes),
        ],
    )


def lines(proofs: Sequence[Proof]) -> list[str]:
    """The table, one sentence below it, and what prevents the rest.

    Args:
        proofs: What ``heedful.interception.verify`` found.

    Returns:
        Lines of text, reasons and notes wrapped to a screen of 80; ``recomputed`` and ``replaced`` carry the relative
        error and change by which they are judged. A way in that all modules share is told once, in the sentence.
    """
    if not proofs:
        return [NOTHING]
    shared = proofs[0].way if len({proof.way for proof in proofs}) == 1 else ""
    rows = [("module", *(() if shared else ("way in",)), "recomputed", "replaced")]
    for proof in proofs:
        way = () if shared else (proof.way or "not captured",)
        error, moved = _judged(proof.recomputed, proof.error), _judged(proof.replaced, proof.moved)
        rows.append((_named(proof), *way, error, moved))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    met = [proof for proof in proofs if proof.way]
    proved = sum(proof.recomputed and proof.replaced for proof in met)
    through = f" ({shared})" if shared else ""
    said = f"{len(met)} of {len(proofs)} modules captured{through}, {proved} proved both ways"
    return [*(row.rstrip() for row in table), "", said, *_reasons(proofs)]


def _named(proof: Proof) -> str:
    return proof.path or "(the model itself)"


def _reasons(proofs: Sequence[Proof]) -> list[str]:
    """Each reason and note once, with the modules that it is of."""
    modules: dict[str, list[str]] = {}
    for proof in proofs:
        if proof.reason:
            modules.setdefault(proof.reason, []).append(_named(proof))
        if proof.note:
            modules.setdefault(proof.note, []).append(proof.way)
    found = []
    for reason, names in modules.items():
        who = list(dict.fromkeys(names))
        more = f" and {len(who) - SHOWN_NAMES} more" if len(who) > SHOWN_NAMES else ""
        text = f"{', '.join(who[:SHOWN_NAMES])}{more}: {reason}"
        found += ["", *textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)]
    return found


def _judged(good: bool, value: float) -> str:
    return "-" if math.isnan(value) else f"{'yes' if good else 'no'} ({value:.1e})"
