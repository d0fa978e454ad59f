"""Records of a contract check: promises, results, first wrong pair, remedy."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from heedful.errors import UsageError
from heedful.reporting.shown_record import ShownRecord, counted
from heedful.showing import drawing

DIRECTIONS = ("causal", "both")
PAIRINGS = ("half", "interleaved")


class Status(StrEnum):
    """Result for one promise in one attention module.

    ``HELD``: every proof that could judge it agrees. ``BROKEN``: at least one proof shows a breach. ``NOT_EXERCISED``:
    the batch cannot show a difference (a window longer than the text). ``NOT_DECIDABLE``: no proof could judge it.
    ``NOT_PROMISED``: found and reported, never judged. ``CONTRADICTION``: two sources promise different things.
    """

    HELD = "held"
    BROKEN = "BROKEN"
    NOT_EXERCISED = "not exercised"
    NOT_DECIDABLE = "not decidable"
    NOT_PROMISED = "not promised"
    CONTRADICTION = "contradiction"


@dataclass(frozen=True)
class Contract:
    """Promises stated by the user. A value overrides config and batch; None keeps their promise.

    Attributes:
        direction: ``causal``: key j is visible to query i only where j <= i; ``both``: every key is.
        window: Keys that a causal query sees, its own included (both ways: positions on each side); one number for
            all layers or one for each; 0: no window.
        documents: ``(batch, position)`` labels: a query sees the keys of its own document alone.
        prefix: Number of leading positions that look both ways among themselves.
        scale: Factor of the products of query and key.
        softcap: Bound of the logits, ``c tanh(l / c)``; 0: none.
        theta: Base of the rotary frequencies.
        pairing: ``half`` rotates (i, i + d/2) together, ``interleaved`` (2i, 2i + 1).

    Raises:
        UsageError: A field has a value that it cannot have.

    Example:
        >>> Contract(direction="causal", window=4096).window
        4096
    """

    direction: str | None = None
    window: int | Sequence[int] | None = None
    documents: Tensor | Sequence[Sequence[int]] | None = None
    prefix: int | None = None
    scale: float | None = None
    softcap: float | None = None
    theta: float | None = None
    pairing: str | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("direction", DIRECTIONS), ("pairing", PAIRINGS)):
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise UsageError(f"contract: {name}: expected one of {', '.join(allowed)}; got {value!r}")
        for name in ("prefix", "softcap"):
            _number(name, getattr(self, name), least=0.0)
        for name in ("scale", "theta"):
            _number(name, getattr(self, name), least=math.ulp(0.0))
        windows = [] if self.window is None else [self.window] if isinstance(self.window, int) else list(self.window)
        if any(isinstance(one, bool) or not isinstance(one, int) or one < 0 for one in windows):
            raise UsageError(f"contract: window: expected numbers of keys from 0 (no window), got {self.window!r}")

    @classmethod
    def read(cls, path: str | Path) -> Contract:
        """Read a contract from a TOML file, for example one stored with a model.

        Args:
            path: The file; its keys are the fields.

        Raises:
            UsageError: The file cannot be read, or a key or value is none of a contract's.
        """
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"{path}: expected a contract in TOML: {' '.join(str(error).split())[:200]}") from error
        known = [one.name for one in fields(cls)]
        wrong = [name for name in values if name not in known]
        if wrong:
            raise UsageError(f"{path}: contract: no such promise: {wrong[0]!r} (known: {', '.join(known)})")
        return cls(**values)


def _number(name: str, value: Any, *, least: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
        raise UsageError(f"contract: {name}: expected a finite number of at least {least:.3g}, got {value!r}")


@dataclass(frozen=True)
class Promise:
    """A promised value and its source: config, batch or user.

    Attributes:
        name: ``direction``, ``window``, ``documents``, ``padding``, ``scale`` ...
        value: What is promised, as it is shown.
        source: Where it stands: ``config.sliding_window``, ``batch['position_ids']``, ``contract``.
    """

    name: str
    value: Any
    source: str


@dataclass(frozen=True)
class Fix:
    """Remedy for a breach: a sentence and, where possible, code.

    Attributes:
        text: One sentence.
        code: Python that does it, with ``model`` and ``batch`` (a dict) as its names; empty where it is a matter of
            the model's own source.
    """

    text: str
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class Breach:
    """First wrong (query, key) pair of one promise in one module.

    Attributes:
        proof: ``kernel rows``, ``rotation``, ``changed token``, ``gradient``.
        expected: What was promised of the pair.
        found: What was found.
        sequence: Row of the batch; None where it does not matter.
        head: Query head, or None where all are wrong or it cannot be told.
        query: Position of the query.
        key: Position of the key, or None.
        tokens: Ids of the two tokens, where the batch names them.
        size: Weight, or relative size of what is wrong.
    """

    proof: str
    expected: str
    found: str
    sequence: int | None = None
    head: int | None = None
    query: int | None = None
    key: int | None = None
    tokens: tuple[int | None, int | None] = (None, None)
    size: float = math.nan


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Result for one promise in one module.

    Attributes:
        promise: Its name.
        path: Module path; empty for the whole model.
        layer: Index of the module in the order of first calls; None for the whole model.
        status: What became of it.
        value: What was promised, as text.
        source: Where it was promised.
        found: What was found.
        kernel: What the kernel's own rows said: ``held``, ``BROKEN`` or why nothing.
        behaviour: The same of changed tokens and gradients.
        breach: The first wrong pair, where it is broken.
        remedy: What mends it, where it is broken.
    """

    promise: str
    path: str
    layer: int | None
    status: Status
    value: str = ""
    source: str = ""
    found: str = ""
    kernel: str = ""
    behaviour: str = ""
    breach: Breach | None = None
    remedy: Fix | None = None


@dataclass(frozen=True, kw_only=True)
class CaptureProof:
    """How one attention module is captured, and whether recomputation and replacement prove it.

    Attributes:
        path: Module path.
        way: How its calls were captured; empty where they were not.
        heads: Number of query heads; 0 where not captured.
        error: Largest relative difference of sampled rows of its output from those computed again from the captured
            query, key and value; NaN where not known.
        recomputed: Whether rounding explains that difference.
        moved: Largest relative change of the model's output where the module's attention puts out nothing; NaN where
            a gradient showed already that it matters, or where it was not asked.
        replaced: Whether what heedful gives in place of its output reaches the model.
        reason: Why either is not so; empty where both are, or where the second was not asked.
        note: What being watched changes about the module.
    """

    path: str
    way: str = ""
    heads: int = 0
    error: float = math.nan
    recomputed: bool = False
    moved: float = math.nan
    replaced: bool = False
    reason: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True, repr=False)
class ContractReport(ShownRecord):
    """Result of one contract check: ``heedful.contract/1``.

    Attributes:
        model: Class of the model.
        implementation: Attention implementation that its config names; empty where it names none.
        batch: Name to shape of what the model was given.
        judgements: Promises by module, in the order of the modules.
        proofs: How each attention module is captured, and whether that is proved both ways.
        undecided: What one model alone cannot decide, or what was not reached, a line each.
        notes: What a reader should know of the batch.
        forwards: Forwards that the model made; a forward with its backward counts once.
        seconds: Wall time.
        tokens: Token id to text, of the tokens of breaches.
    """

    page_by: ClassVar[str] = "heedful.contract.page:contract_page"
    json_by: ClassVar[str] = "heedful.contract.page:contract_json"

    model: str
    implementation: str
    batch: Mapping[str, Sequence[int]]
    judgements: Sequence[Judgement]
    proofs: Sequence[CaptureProof] = ()
    undecided: Sequence[str] = ()
    notes: Sequence[str] = ()
    forwards: int = 0
    seconds: float = math.nan
    tokens: Mapping[int, str] = field(default_factory=dict)

    def one_line(self) -> str:
        """Return one line with model, held and broken promises, and captured modules."""
        counts = {status: len({one.promise for one in self.judgements if one.status is status}) for status in Status}
        message = f"{counts[Status.HELD]} promises held, {counts[Status.BROKEN]} broken"
        return f"{self.model}: {message}" + (f", {counted(self.captured, 'module')} captured" if self.proofs else "")

    @property
    def captured(self) -> int:
        """Number of modules with a captured call."""
        return sum(bool(proof.way) for proof in self.proofs)

    @property
    def proved(self) -> int:
        """Number of modules whose capture is proved by recomputation and by replacement."""
        return sum(bool(proof.way) and proof.recomputed and proof.replaced for proof in self.proofs)

    @property
    def broken(self) -> list[Judgement]:
        """Results of broken promises, in module order."""
        return [one for one in self.judgements if one.status is Status.BROKEN]

    @property
    def held(self) -> bool:
        """Whether at least one promise was judged and none is broken."""
        return not self.broken and any(one.status is Status.HELD for one in self.judgements)

    def of(self, promise: str) -> list[Judgement]:
        """Return the results for the promise of this name."""
        return [one for one in self.judgements if one.promise == promise]

    def as_json(self) -> dict[str, Any]:
        """Return the record as a JSON-compatible dict; NaN is null."""
        plain: dict[str, Any] = _plain(asdict(self))
        return {"schema": "heedful.contract/1", "held": self.held, **plain}

    def __str__(self) -> str:
        return str(drawing("contract_text")(self))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, StrEnum) else value
