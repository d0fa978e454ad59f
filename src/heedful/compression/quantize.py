"""``heedful.quantize``: measure the loss increase from keys in few bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from heedful.errors import UsageError
from heedful.evaluation.model_and_text import Reading, model_and_text, one_or_many

if TYPE_CHECKING:
    from heedful.compression.quantizer import Quantizer
    from heedful.compression.record import Quantization
    from heedful.evaluation.model_and_text import GivenModel, GivenSequences
    from heedful.loading.given_sequences import Batches
    from heedful.loading.given_text import GivenText, GivenTokenizer

Progress = Callable[[int, int, str], None]


def quantize(
    model: GivenModel = None,
    sequences: GivenSequences = None,
    text: GivenText | Batches | None = None,
    *,
    bits: int | Sequence[int] = (),
    group: str | Sequence[str] = (),
    clip: float | Sequence[float] = (),
    rotation: str = "after",
    quantizers: Sequence[Quantizer] | None = None,
    tokenizer: GivenTokenizer | None = None,
    config: str | Path | None = None,
    factory: str | None = None,
    checkpoint: str | Path | None = None,
    seq_len: int = 128,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
    allow_global: str | Sequence[str] = (),
    name: str = "",
    notes: Sequence[str] = (),
    progress: Progress = lambda done, total, what: None,
) -> Quantization:
    """Measure how rounding keys to few bits changes weights, outputs and loss, compared with noise of equal size.

    The words are those of ``heedful compress quantize``. The model, its hooks, flags and random state are as before
    afterwards; no weight of it is changed.

    Args:
        model: As for ``heedful.validate``: a causal language model, a masked one with its head, or an encoder without
            one (then there is no loss).
        sequences: As for ``heedful.validate``: held-out text.
        text: As for ``heedful.validate``.
        bits: Bits of a component; none means 8, 4 and 3.
        group: What shares a scale: ``tensor``, ``token``, ``channel``; none means all three.
        clip: Percentage of components that keep their value; none means 99.9 and 99.
        rotation: Keys ``after`` their rotation, as they are cached, or ``before`` it.
        quantizers: What to try, in place of ``bits``, ``group`` and ``clip``.
        tokenizer: Where it is not the model's own.
        config: Config of a bare checkpoint.
        factory: ``package.module:function`` that builds the model.
        checkpoint: Weights for the model of ``factory``.
        seq_len: Tokens of a sequence that is cut from text.
        device: Where a model that is loaded computes.
        dtype: Number format of a model that is loaded.
        seed: Seed of noise, resamples and the choice of text.
        allow_global: Classes that a .pt checkpoint may hold.
        name: What to call the model.
        notes: Further remarks that the record should carry.
        progress: Called with (done, total, what).

    Returns:
        The record.

    Raises:
        UsageError: Words do not go together.
        CaptureError: No attention of the model could be met, or nothing before its rotation.
        InputRejected: The model's parameters are sharded, or not finite.

    Example:
        >>> heedful.quantize("my-checkpoint", text="held_out.txt", bits=4).save("quantized.html")  # doctest: +SKIP
    """
    from heedful.compression.quantize_keys import quantize_keys
    from heedful.compression.redundancy import STAGES

    if rotation not in STAGES:
        raise UsageError(f"rotation: expected one of {', '.join(STAGES)}; got {rotation!r:.60}")
    tried = _quantizers(quantizers, one_or_many(bits), one_or_many(group), one_or_many(clip))
    reading = Reading(
        config=config,
        factory=factory,
        checkpoint=checkpoint,
        seq_len=seq_len,
        device=device,
        dtype=dtype,
        seed=seed,
        allow_global=one_or_many(allow_global),
    )
    found = model_and_text(model, sequences, text, tokenizer, reading)
    return quantize_keys(
        found.model,
        found.sequences,
        quantizers=tried,
        stage=rotation,
        seed=seed,
        name=name or found.name,
        notes=(*found.notes, *notes),
        progress=progress,
    )


def _quantizers(
    quantizers: Sequence[Quantizer] | None, bits: tuple[int, ...], group: tuple[str, ...], clip: tuple[float, ...]
) -> Sequence[Quantizer]:
    from heedful.compression.quantize_keys import BITS, CLIPS, GROUPS, standard_quantizers

    if quantizers is None:
        return standard_quantizers(bits or BITS, group or GROUPS, clip or CLIPS)
    if bits or group or clip:
        raise UsageError("quantizers: expected them, or bits, group and clip; got both (leave one out)")
    return quantizers
