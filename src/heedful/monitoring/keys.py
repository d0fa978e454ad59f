"""``heedful.keys``: chart the key vectors of a run or of checkpoints."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedful.errors import UsageError
from heedful.evaluation.model_and_text import one_or_many

if TYPE_CHECKING:
    from heedful.loading.given_text import GivenText
    from heedful.monitoring.page.record import KeyReport

_log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]


def keys(
    runs: str | Path | Iterable[str | Path],
    *,
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
) -> KeyReport:
    """Chart the key vectors of a training run, with a paragraph on each figure.

    The words are those of ``heedful keys``.

    Args:
        runs: A run of ``heedful.AttentionTracker`` or its table; or checkpoints: models, or one folder of step folders.
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
        The figures, each with its paragraph.

    Raises:
        UsageError: Words do not go together, or no run was given.
        InputRejected: A table or a checkpoint is not what it should be.
        OutputError: ``out`` cannot be written.

    Example:
        >>> heedful.keys("run").save("keys.html")  # doctest: +SKIP
    """
    places = _places(runs)
    _log.info("key vectors of %s", ", ".join(places[:3]))
    if out is not None:
        check_out(Path(out), force)
    if _recorded(places):
        given = {"--config": config, "--tokenizer": tokenizer, "--text": text or None, "--out": out}
        _refuse(places[0], [name for name, value in given.items() if value is not None])
        from heedful.monitoring.evolution.figures import key_report

        return key_report(places[0])
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
    return _read(places, reading, None if out is None else Path(out), force, progress)


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


def _read(runs: list[str], reading: Any, out: Path | None, force: bool, progress: Progress) -> KeyReport:
    """Read checkpoints, save their table where asked for, and make the figures of it."""
    from heedful.monitoring.checkpoints.listing import find_checkpoints
    from heedful.monitoring.checkpoints.reading import checkpoint_table
    from heedful.monitoring.evolution.figures import report_of
    from heedful.monitoring.evolution.rows import rows_of
    from heedful.monitoring.tracker.table import table_bytes
    from heedful.reporting.write import write_atomic

    checkpoints = find_checkpoints(runs)
    table = checkpoint_table(checkpoints, reading, progress)
    subject = runs[0] if len(runs) == 1 else f"{checkpoints[0].name} to {checkpoints[-1].name}"
    found = report_of(rows_of(table, subject), subject)
    if out is not None:
        write_atomic(out, table_bytes(table), overwrite=force)
    return found
