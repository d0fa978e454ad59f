"""``heedful.watch``: show a page on a training run, in progress or ended, or on checkpoints."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedful.errors import InputRejected, UsageError
from heedful.evaluation.model_and_text import one_or_many

if TYPE_CHECKING:
    from heedful.loading.given_text import GivenText
    from heedful.monitoring.page.record import WatchReport

_log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]


def watch(
    runs: str | Path | Iterable[str | Path],
    *,
    against: str | Path | None = None,
    head: str | Sequence[str] = (),
    step: int | Sequence[int] = (),
    groups: str | None = None,
    follow: bool = False,
    interval: float = 10.0,
    shown: Callable[[WatchReport], None] = lambda report: None,
    config: str | Path | None = None,
    tokenizer: str | Path | None = None,
    text: GivenText | None = None,
    seq_len: int = 128,
    sequences: int = 32,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
    out: str | Path | None = None,
    force: bool = False,
    allow_global: str | Sequence[str] = (),
    progress: Progress = lambda done, total, what: None,
) -> WatchReport:
    """Show a training run or checkpoints: alarms, curves, comparisons of heads and of steps, and key vectors.

    The words are those of ``heedful watch``.

    Args:
        runs: A run of ``heedful.AttentionTracker`` or its table; or checkpoints: models, or one folder of step folders.
        against: Another run, or its table, to set beside this one.
        head: Heads to set beside one another, such as ``["L0H3", "L2H1"]``.
        step: Recorded steps to set beside one another.
        groups: Groups of layers that lines are of, such as ``0-3,4-18,19-21``; None for thirds.
        follow: Whether to go on while the run does, and return at its end.
        interval: Seconds between two looks at a run that is followed.
        shown: Called with each new record of a run that is followed.
        config: Config of bare checkpoints.
        tokenizer: Where it is not the models' own: its path.
        text: What checkpoints read; None for the text that ships with heedful.
        seq_len: Tokens of a sequence that checkpoints read.
        sequences: How many of them.
        device: Where checkpoints compute.
        dtype: Their number format.
        seed: Seed of the choice of text.
        out: Where to save what checkpoints showed: a path that ends in .parquet.
        force: Whether ``out`` may replace a file.
        allow_global: Classes that a .pt checkpoint may hold.
        progress: Called with (done, total, what).

    Returns:
        The run's alarms, curves and figures.

    Raises:
        UsageError: Words do not go together, no run was given, or a head or step is not in the table.
        InputRejected: A table or a checkpoint is not what it should be.
        OutputError: ``out`` cannot be written.

    Example:
        >>> heedful.watch("run").save("run.html")  # doctest: +SKIP
    """
    places = _places(runs)
    _log.info("watching %s", ", ".join(places[:3]))
    if out is not None:
        check_out(Path(out), force)
    if follow and not interval > 0:
        raise UsageError(f"interval: expected more than 0 seconds, got {interval}")
    chosen: dict[str, Any] = {"heads": one_or_many(head), "groups": groups}
    chosen["steps"] = (step,) if isinstance(step, int) else tuple(step)
    if _recorded(places) or (follow and len(places) == 1):
        given = {"--config": config, "--tokenizer": tokenizer, "--text": text or None, "--out": out}
        _refuse(places[0], [name for name, value in given.items() if value is not None])
        if follow:
            return _followed(places[0], against, chosen, interval, shown)
        return _of_run(places[0], against, chosen, None)
    if against is not None:
        raise UsageError(f"{places[0]}: --against sets a recorded run beside another, and this is none (leave it out)")
    from heedful.loading.given_text import documents_of
    from heedful.monitoring.checkpoints.reading import CheckpointReading

    reading = CheckpointReading(
        documents=documents_of(text or None),  # first: it fails fast
        seq_len=seq_len,
        sequences=sequences,
        seed=seed,
        device=device,
        dtype=dtype,
        config=None if config is None else Path(config),
        tokenizer=None if tokenizer is None else str(tokenizer),
        allow_globals=one_or_many(allow_global),
    )
    return _read(places, reading, None if out is None else Path(out), force, progress, chosen)


def _of_run(run: str, against: str | Path | None, chosen: dict[str, Any], refresh: int | None) -> WatchReport:
    """The record of a run as it stands."""
    from heedful.monitoring.evolution.rows import run_table
    from heedful.monitoring.evolution.watched import is_running, watch_report

    running = is_running(run)  # before the table is read: what ends in between is looked at once more
    other = None if against is None else (run_table(against), os.fspath(against))
    return watch_report(run_table(run), run, running=running, against=other, refresh=refresh, **chosen)


def _followed(
    run: str, against: str | Path | None, chosen: dict[str, Any], interval: float, shown: Callable[[WatchReport], None]
) -> WatchReport:
    from heedful.monitoring.evolution.watched import is_running

    last = -1
    while True:
        try:
            found = _of_run(run, against, chosen, max(1, round(interval)))
        except InputRejected:
            if not is_running(run):
                raise
            found = None  # nothing was recorded yet
        if found is not None and not found.running:
            from dataclasses import replace

            found = replace(found, refresh=None)
            shown(found)
            return found
        if found is not None and found.step != last:
            last = found.step
            shown(found)
        time.sleep(interval)


def check_out(out: Path, force: bool) -> None:
    """Raise an error before any work if the table cannot be written to ``out``.

    Args:
        out: Its path.
        force: Whether a file that stands there may be replaced.

    Raises:
        UsageError: It does not end in .parquet.
        OutputError: It cannot be written.
    """
    from heedful.reporting.write import check_target

    if out.suffix.lower() != ".parquet":
        raise UsageError(f"--out {out}: expected a name that ends in .parquet, got {out.suffix!r}")
    check_target(out, overwrite=force)


def _places(runs: Any) -> list[str]:
    given = one_or_many(runs) if isinstance(runs, str | os.PathLike | Iterable) else (runs,)
    wrong = [one for one in given if not isinstance(one, str | os.PathLike)]
    if wrong or not given:
        got = type(wrong[0]).__name__ if wrong else "nothing"
        raise UsageError(f"runs: expected a run, its table, or checkpoints, by path; got {got}")
    return [os.fspath(one) for one in given]


def _recorded(runs: list[str]) -> bool:
    """Whether a table that was recorded is shown, and no checkpoint is read."""
    from heedful.monitoring.tracker.table import NAME, PARTS

    place = Path(runs[0]).expanduser()
    return len(runs) == 1 and (
        place.suffix.lower() == ".parquet" or any((place / name).exists() for name in (NAME, PARTS))
    )


def _refuse(run: str, names: list[str]) -> None:
    if names:
        raise UsageError(f"{run}: {names[0]} is for checkpoints, and this is a recorded table (leave it out)")


def _read(
    runs: list[str], reading: Any, out: Path | None, force: bool, progress: Progress, chosen: dict[str, Any]
) -> WatchReport:
    """Read checkpoints, save their table where asked for, and make the record of it."""
    from heedful.monitoring.checkpoints.reading import checkpoint_table, find_checkpoints
    from heedful.monitoring.evolution.watched import watch_report
    from heedful.monitoring.tracker.table import table_bytes
    from heedful.reporting.write import write_atomic

    checkpoints = find_checkpoints(runs)
    table = checkpoint_table(checkpoints, reading, progress)
    subject = runs[0] if len(runs) == 1 else f"{checkpoints[0].name} to {checkpoints[-1].name}"
    found = watch_report(table, subject, **chosen)
    if out is not None:
        write_atomic(out, table_bytes(table), overwrite=force)
    return found
