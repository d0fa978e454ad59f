"""Measure every text slice and store one table for each, and store the first slice's data for figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars
from scipy.special import entr, softmax

from heedful.loading.token_encoder import seed_tokenizer
from heedful.ngrams.derivation.affinities import affinity
from heedful.reporting.write import write_atomic
from reproductions.counts.attending import content_logits, expectations, layer_logits
from reproductions.counts.mending import LONG, mended
from reproductions.counts.rows import COLUMNS
from reproductions.counts.samples import SEED, SLICES, CountSample, sample, slices
from reproductions.counts.structure import structured
from reproductions.counts.sweeping import made, swept
from reproductions.writing import write_table

UNITS, TABLE, PICTURED = "units", "counts", "pictured"
"""Folder of the units' tables; the one table of all of them; what pictures show."""


def measure(out: Path, texts: Sequence[Path], tell: Callable[[str], None], number: int = SLICES) -> None:
    """Measure every text slice that has no stored table yet.

    Args:
        out: Folder of measurements: ``counts.parquet``, a row a unit and measure, and ``pictured.json``.
        texts: Plain texts.
        tell: Called with a line a unit.
        number: Slices of each text; one more is cut, which nothing is measured of but as unseen text.

    Raises:
        InputRejected: A text is too short.
        OutputError: Something could not be written.
    """
    place, found = 0, []
    for path in texts:
        parts = slices(path, number + 1)
        for part in range(number):
            kept = out / UNITS / f"{path.stem}-{part}.parquet"
            if not kept.exists() or place == 0:
                unit = sample(parts, part, path.stem, SEED + place, out / UNITS)
                if place == 0 and not (out / f"{PICTURED}.json").exists():
                    write_atomic(out / f"{PICTURED}.json", json.dumps(pictured(unit)), overwrite=True)
            if not kept.exists():
                write_table(measured(unit), kept)
                tell(f"{unit.name}: seed {unit.seed}")
            found.append(polars.read_parquet(kept))
            place += 1
    write_table(polars.concat(found), out / f"{TABLE}.parquet")


def measured(unit: CountSample) -> polars.DataFrame:
    """Return the tidy table of measurements of one text slice."""
    rows = [*swept(unit), *structured(unit), *mended(unit)]
    types = {"std": polars.Float64, "layer": polars.Int64, "head": polars.Int64, "value": polars.Float64}
    schema = {name: types.get(name, polars.String) for name in COLUMNS}
    return polars.DataFrame(rows, schema=schema).with_columns(unit=polars.lit(unit.name))


def pictured(unit: CountSample) -> dict[str, object]:
    """Return data for figures: weights of the most varied sequence, entropy by row, and singular values."""
    table = unit.tables[1, 0]
    place = int(np.argmax([len(np.unique(tokens)) for tokens in unit.documents]))
    tokens = unit.documents[place]
    every = np.arange(table.vocabulary)
    words = seed_tokenizer().convert_ids_to_tokens(tokens.tolist())
    models = {arm: layer_logits(made(unit, arm).model, unit.documents) for arm in ("published", "kept")}
    derived = content_logits(affinity(LONG, table).at(every, every), [tokens])[0]
    weights = {
        "expected": expectations(table, [tokens])[0],
        "published": softmax(models["published"][0][place, 0], axis=-1),
        "kept": softmax(models["kept"][0][place, 0], axis=-1),
        "log P": softmax(derived, axis=-1),
    }
    return {
        "tokens": words,
        "weights": {name: _without_nan(block) for name, block in weights.items()},
        "entropy": [entr(softmax(call, axis=-1)).sum(-1).mean((0, 1)).tolist() for call in models["published"]],
        "singular_values": np.linalg.svd(affinity("normalised", table).at(every, every), compute_uv=False).tolist(),
    }


def _without_nan(block: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in block]
