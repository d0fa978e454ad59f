"""The public function that proves how each attention module of a model is met, and what it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from heedful.evaluation.model_and_text import Reading, model_and_text, one_or_many
from heedful.reporting.shown_record import ShownRecord, counted

if TYPE_CHECKING:
    from heedful.distributed.ranks import Ranks
    from heedful.evaluation.model_and_text import GivenModel, GivenSequences
    from heedful.interception.verify import Proof
    from heedful.loading.given_sequences import Batches
    from heedful.loading.given_text import GivenText, GivenTokenizer

SHOWN = 2
"""Sequences that the model sees; proofs do not get better by more."""


@dataclass(frozen=True, kw_only=True, repr=False)
class CaptureProofs(ShownRecord):
    """How each attention module is met, and whether that is proved: ``heedful.doctor/1``.

    Attributes:
        model: What the user called the model.
        proofs: One a module.
        headless: Why the model has no attention by its own config; empty where it has.
        notes: Remarks of the loader and of the text.
    """

    schema: ClassVar[str] = "heedful.doctor/1"
    page_by: ClassVar[str] = "heedful.evaluation.page.proofs:proof_page"

    model: str
    proofs: Sequence[Proof]
    headless: str = ""
    notes: Sequence[str] = ()

    @property
    def met(self) -> int:
        """Modules of which a call was met."""
        return sum(bool(proof.way) for proof in self.proofs)

    @property
    def proved(self) -> int:
        """Modules that are proved both ways: recomputed and replaced."""
        return sum(bool(proof.way) and proof.recomputed and proof.replaced for proof in self.proofs)

    def told(self) -> str:
        """Model, modules met and proved."""
        return f"{self.model}: {self.met} of {counted(len(self.proofs), 'module')} met, {self.proved} proved both ways"


def doctor(
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
    ranks: Ranks | None = None,
) -> CaptureProofs:
    """Prove how each attention module of a model is recorded.

    Each module is proved twice: its output is recomputed from what was recorded, and taking it away moves the model's.

    Args:
        model: As for ``heedful.validate``.
        sequences: As for ``heedful.validate``; the first two are read.
        text: As for ``heedful.validate``.
        tokenizer: Where it is not the model's own.
        config: Config of a bare checkpoint.
        factory: ``package.module:function`` that builds the model.
        checkpoint: Weights for the model of ``factory``.
        seq_len: Tokens of a sequence that is cut from text.
        device: Where a model that is loaded computes.
        dtype: Number format of a model that is loaded.
        seed: Seed of the choice of text.
        allow_global: Classes that a .pt checkpoint may hold.
        ranks: Processes that divide the model; None for this one alone.

    Returns:
        The proofs.

    Raises:
        UsageError: Words do not go together.
        InputRejected: A file, text or model is not what it should be.

    Example:
        >>> import heedful
        >>> heedful.doctor(seq_len=16)
        CaptureProofs(embedded default: 4 of 4 modules met, 4 proved both ways)
    """
    from heedful.evaluation.running import device_of, run_model
    from heedful.interception.headless import without_heads
    from heedful.interception.verify import verify

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
        wanted=SHOWN,
    )
    found = model_and_text(model, sequences, text, tokenizer, reading)
    where = device_of(found.model)
    ids, mask = (tensor[:SHOWN].to(where) for tensor in (found.sequences.input_ids, found.sequences.attention_mask))
    proofs = verify(found.model, lambda: run_model(found.model, ids, mask))
    return CaptureProofs(
        model=found.name or type(found.model).__name__,
        proofs=proofs,
        headless=without_heads(found.model),
        notes=(*found.notes, *found.sequences.notes),
    )
