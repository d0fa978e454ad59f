"""``heedful doctor``: how each attention module of a model is met, and whether that is proved."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.several_processes import processes_of, ranks_of_this_run, speaks
from heedful.evaluation.command_inputs import Inputs, read
from heedful.reporting.escape import visible

if TYPE_CHECKING:
    from heedful.interception.verify import Proof

NOTHING_MET = 3
NOTHING = "no module of this model looks like attention, and no attention call was met"
WIDTH = 80
SHOWN_NAMES = 2
SHOWN = 2
"""Sequences that the model sees; proofs do not get better by more."""


@guarded
def doctor(
    model: options.Model = None,
    config: options.Config = None,
    factory: options.Factory = None,
    checkpoint: options.Checkpoint = None,
    tokenizer: options.Tokenizer = None,
    text: options.Text = None,
    seq_len: options.SeqLen = 128,
    device: options.Device = "cpu",
    parallel: options.Parallel = "documents",
    dtype: options.DtypeOption = "auto",
    seed: options.Seed = 0,
    allow_global: options.AllowGlobal = None,
    debug: options.Debug = False,
) -> int:
    """Prove the capture of a model and say so; the parameters are the options of the same name.

    Returns:
        The exit code: 0, or 3 where no attention was met.
    """
    from heedful.evaluation.running import device_of, run_model
    from heedful.interception.headless import without_heads
    from heedful.interception.verify import verify

    inputs = Inputs(
        model=model,
        config=config,
        factory=factory,
        checkpoint=checkpoint,
        tokenizer=tokenizer,
        text=text or (),
        seq_len=seq_len,
        sequences=SHOWN,
        device=device,
        dtype=dtype,
        seed=seed,
        allow_globals=allow_global or (),
        processes=processes_of(parallel),
    )
    with ranks_of_this_run(parallel) as ranks:
        loaded, made = read(inputs)
        where = device_of(loaded.model)
        ids, mask = made.input_ids[:SHOWN].to(where), made.attention_mask[:SHOWN].to(where)
        proofs = verify(loaded.model, lambda: run_model(loaded.model, ids, mask))
        if speaks(ranks):
            table = lines(proofs) if proofs else [without_heads(loaded.model) or NOTHING]
            for line in [*table, *(f"note: {note}" for note in (*loaded.notes, *made.notes))]:
                typer.echo(visible(line))
            if ranks is not None:
                ranks.first("word")
    return 0 if any(proof.way for proof in proofs) else NOTHING_MET


def lines(proofs: "Sequence[Proof]") -> list[str]:
    """The table, one sentence below it, and what stands in the way of the rest.

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
        way = () if shared else (proof.way or "not met",)
        error, moved = _judged(proof.recomputed, proof.error), _judged(proof.replaced, proof.moved)
        rows.append((_named(proof), *way, error, moved))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    met = [proof for proof in proofs if proof.way]
    proved = sum(proof.recomputed and proof.replaced for proof in met)
    through = f" ({shared})" if shared else ""
    said = f"{len(met)} of {len(proofs)} modules met{through}, {proved} proved both ways"
    return [*(row.rstrip() for row in table), "", said, *_reasons(proofs)]


def _named(proof: "Proof") -> str:
    return proof.path or "(the model itself)"


def _reasons(proofs: "Sequence[Proof]") -> list[str]:
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
