"""``heedful.heads``: measure every head of a model and return a table.

Rank heads by their weight on given position pairs, over all sequences of a text.

Read position pairs from a file: which token should attend to which.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from heedful.distributed.ranks import ALONE, Ranks
from heedful.errors import InputRejected
from heedful.evaluation.evidence import ProbedCall, collect
from heedful.evaluation.model_and_text import Reading, model_and_text, one_or_many
from heedful.evaluation.running import evaluating, unwrapped
from heedful.evaluation.settings import Settings
from heedful.evaluation.study import Study, no_progress
from heedful.interception.pair_ranking import Matchings, PairRanking, given_pairs, ranking
from heedful.loading.regular_file import parse_json, read_small
from heedful.loading.wording import escaped
from heedful.reporting.shown_record import ShownRecord, counted

if TYPE_CHECKING:
    from heedful.loading.sequences import TokenBatch


if TYPE_CHECKING:
    import pandas
    import polars

    from heedful.distributed.ranks import Ranks
    from heedful.evaluation.model_and_text import GivenModel, GivenSequences
    from heedful.evaluation.result import HeadRow
    from heedful.interception.pair_ranking import PairRanking
    from heedful.loading.given_sequences import Batches
    from heedful.loading.given_text import GivenText, GivenTokenizer

    GivenPairs = str | Path | Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True, repr=False)
class HeadTable(ShownRecord):
    """Table of a model's attention heads, one row per head, in the order in which the model calls its layers.

    Attributes:
        model: What the user called the model.
        rows: The rows.
        read: Sequences, tokens of a sequence and documents that were read.
        notes: Remarks of the loader.
        by_pairs: Heads ranked by their weight on given pairs, where pairs were given.
    """

    page_by: ClassVar[str] = "heedful.evaluation.page.head_page:head_page"
    json_by: ClassVar[str] = "heedful.evaluation.page.head_page:head_json"

    model: str
    rows: Sequence[HeadRow]
    read: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    by_pairs: PairRanking | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[HeadRow]:
        return iter(self.rows)

    def __getitem__(self, place: int) -> HeadRow:
        return self.rows[place]

    def one_line(self) -> str:
        """Return one line with the model and the number of heads."""
        layers = len({row.layer for row in self.rows})
        return f"{self.model}: {counted(len(self.rows), 'head')} in {counted(layers, 'layer')}"

    def to_polars(self) -> polars.DataFrame:
        """Return the table as a polars dataframe; undefined statistics are NaN."""
        from heedful.evaluation.head_files import head_frame

        return head_frame(self.rows)

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table as a pandas dataframe; undefined statistics are NaN."""
        return self.to_polars().to_pandas()

    def _forms(self) -> dict[str, Any]:
        from heedful.evaluation.head_files import head_bytes

        tables = {ending: lambda ending=ending: head_bytes(self.rows, ending) for ending in (".csv", ".parquet")}
        return {**super()._forms(), **tables}


def heads(
    model: GivenModel = None,
    sequences: GivenSequences = None,
    text: GivenText | Batches | None = None,
    *,
    tokenizer: GivenTokenizer | None = None,
    config: str | Path | None = None,
    factory: str | None = None,
    checkpoint: str | Path | None = None,
    seq_len: int = 128,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
    allow_global: str | Sequence[str] = (),
    pairs: GivenPairs | None = None,
    progress: Callable[[int, int, str], None] | None = None,
    ranks: Ranks | None = None,
) -> HeadTable:
    """Measure every head of a model, without null models and without ablation.

    Pitfall: a verdict here speaks of how concentrated a head is, not of whether the model needs it: that is what
    ``heedful.validate`` asks.

    Args:
        model: As for ``heedful.validate``.
        sequences: As for ``heedful.validate``.
        text: As for ``heedful.validate``.
        tokenizer: Where it is not the model's own.
        config: Config of a bare checkpoint.
        factory: ``package.module:function`` that builds the model.
        checkpoint: Weights for the model of ``factory``.
        seq_len: Tokens of a sequence that is cut from text.
        device: Where a model that is loaded computes.
        dtype: Number format of a model that is loaded.
        seed: Seed of every random choice.
        allow_global: Classes that a .pt checkpoint may hold.
        pairs: ``[[query, key], ...]`` of the first sequence or ``[[sequence, query, key], ...]``, or a file of them:
            heads are ranked by their weight on these pairs, too (``by_pairs``), compared with permuted pairs.
        progress: Called with (done, total, what).
        ranks: Processes that divide the text; None for this one alone.

    Returns:
        The table, a sequence of rows, with ``to_polars()``, ``to_pandas()``, ``to_json()`` and ``save(path)`` (.html,
        .json, .csv or .parquet).

    Raises:
        UsageError: Words do not go together.
        InputRejected: A file, text or model is not what it should be.
        CaptureError: No attention call of the model could be met.

    Example:
        >>> import heedful
        >>> table = heedful.heads(heedful.load_model(), 4, seq_len=16)
        >>> table
        HeadTable(embedded default: 24 heads in 4 layers)
    """
    reading = Reading(
        config=config,
        factory=factory,
        checkpoint=checkpoint,
        seq_len=seq_len,
        device=device,
        dtype=dtype,
        seed=seed,
        allow_global=one_or_many(allow_global),
        ranks=ranks,
    )
    given = _pairs(pairs)
    found = model_and_text(model, sequences, text, tokenizer, reading)
    from heedful.evaluation.nine_sections import head_rows
    from heedful.evaluation.settings import Settings

    more: dict[str, Any] = {} if progress is None else {"progress": progress}
    settings = Settings(preset="quick", seed=seed)
    rows = head_rows(found.model, found.sequences, settings=settings, ranks=ranks, **more)
    by_pairs = None
    if given is not None:
        by_pairs = pair_table(found.model, found.sequences, given, settings=settings, ranks=ranks, **more)
        rows = _with_pairs(rows, by_pairs)
    return HeadTable(
        model=found.name or type(found.model).__name__,
        rows=rows,
        read=_read(found.sequences),
        notes=found.notes,
        by_pairs=by_pairs,
    )


def _with_pairs(rows: Sequence[HeadRow], ranking: PairRanking) -> list[HeadRow]:
    """The rows with what the pairs say of each head among their statistics."""
    known = {(one.module, one.head): one for one in ranking.rows}
    found = []
    for row in rows:
        one = known[row.module, row.head]
        more = {"pair_mass": one.mass, "pair_mass_permuted": one.permuted}
        more |= {"pair_p": one.p, "pair_p_adjusted": one.p_adjusted}
        found.append(replace(row, statistics={**row.statistics, **more}))
    return found


def _pairs(pairs: GivenPairs | None) -> Any:
    """Pairs out of a file; anything else as it is, but checked before the model is loaded."""
    if pairs is None:
        return None
    from heedful.interception.pair_ranking import given_pairs

    return given_pairs(read_pairs(Path(pairs)) if isinstance(pairs, str | Path) else pairs)


def _read(sequences: Any) -> dict[str, int]:
    ids, document = getattr(sequences, "input_ids", None), getattr(sequences, "document", None)
    if ids is None or document is None:
        return {}
    return {"sequences": len(ids), "sequence_length": int(ids.shape[1]), "documents": len(document.unique())}


def pair_table(
    model: nn.Module,
    sequences: TokenBatch,
    pairs: Any,
    *,
    settings: Settings | None = None,
    progress: Callable[[int, int, str], None] = no_progress,
    ranks: Ranks | None = None,
) -> PairRanking:
    """Rank all heads of a model by their mean weight on given pairs, compared with permuted pairs.

    Args:
        model: The model.
        sequences: The text.
        pairs: ``[[query, key], ...]`` of the first sequence, or ``[[sequence, query, key], ...]``.
        settings: Seed and tokens of a batch.
        progress: Called with (done, total, what).
        ranks: Processes that divide the text; None for this one alone.

    Returns:
        The heads, the heaviest first.

    Raises:
        CaptureError: No attention call of the model could be met.
        InputRejected: A pair lies outside of the text, or no query can see it.
    """
    inside, notes = unwrapped(model)
    study = Study(inside, sequences, settings or Settings(), progress, ranks or ALONE, unwrap_notes=notes)
    lengths = [int(sequences.input_ids.shape[1])] * len(sequences.input_ids)
    found = given_pairs(pairs)
    matchings = Matchings(found, lengths, study.settings.seed)

    def probe(sight: ProbedCall) -> dict[str, Tensor]:
        return {"pair_sums": matchings.sums(sight.event.call, sight.batch.index.tolist())}

    with evaluating(study.model):
        evidence = collect(study.model, study.batches, [probe], ranks=study.ranks)
    places = [(layer.layer, layer.path, head) for layer in evidence.layers for head in range(layer.heads)]
    return ranking(places, evidence.stacked("pair_sums").sum(axis=0), len(found), matchings.others)


BYTES = 16 << 20


def read_pairs(path: Path) -> list[Any]:
    """Read a JSON or CSV file into lists ``[query, key]`` or ``[sequence, query, key]`` of positions.

    Args:
        path: JSON (``.json``), a list of ``[query, key]`` or ``[sequence, query, key]``; a file of any other name is
            read as CSV with a header that names ``query``, ``key`` and, if there are several, ``sequence``.

    Returns:
        A list of lists; their numbers are not checked yet.

    Raises:
        InputRejected: It is neither, or the columns are not there.
    """
    subject = escaped(path)
    content = read_small(path, BYTES, "a file of pairs")
    if path.suffix.lower() == ".json":
        found = parse_json(content, subject)
        if not isinstance(found, list):
            raise InputRejected(
                subject, f"expected a list of pairs, found {type(found).__name__}", "write [[5, 3], ...]"
            )
        return found
    try:
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputRejected(subject, "expected CSV in UTF-8", "write a header and whole numbers") from error
    if not rows or not {"query", "key"} <= set(rows[0]):
        named = ", ".join(escaped(name, 20) for name in (rows[0] if rows else ())) or "none"
        raise InputRejected(subject, f"expected columns query and key, found {named}", "name them in the first line")
    wanted = ("sequence", "query", "key") if "sequence" in rows[0] else ("query", "key")
    return [[_whole(row[name]) for name in wanted] for row in rows]


def _whole(text: str | None) -> int | str | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return text
