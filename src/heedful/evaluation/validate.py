"""``heedful.validate``: judge the attention of a model on text, with model and text in any supported form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedful.errors import UsageError
from heedful.evaluation.model_and_text import Reading, model_and_text, one_or_many

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from heedful.distributed.ranks import Ranks
    from heedful.evaluation.model_and_text import GivenModel, GivenSequences
    from heedful.evaluation.result import Report
    from heedful.evaluation.settings import Settings
    from heedful.interception.adapter import Adapter
    from heedful.loading.given_sequences import Batches
    from heedful.loading.given_text import GivenText, GivenTokenizer

LOOKS = 5
"""Looks of ``sequential``, at doubling shares of the text."""


def validate(
    model: GivenModel = None,
    sequences: GivenSequences = None,
    text: GivenText | Batches | None = None,
    *,
    tokenizer: GivenTokenizer | None = None,
    config: str | Path | None = None,
    factory: str | None = None,
    checkpoint: str | Path | None = None,
    seq_len: int = 128,
    preset: str = "standard",
    null_models: int | None = None,
    null: str = "random",
    sequential: bool = False,
    require: str | Sequence[str] = (),
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
    allow_global: str | Sequence[str] = (),
    budget: float | None = None,
    settings: Settings | None = None,
    name: str = "",
    notes: Sequence[str] = (),
    progress: Callable[[int, int, str], None] | None = None,
    ranks: Ranks | None = None,
    build: Callable[[int], nn.Module] | None = None,
    cards: bool = False,
    adapter: str | Adapter | None = None,
    override: str | Path | Tensor | np.ndarray | None = None,
) -> Report:
    """Judge the attention of a model on text, in nine sections with verdicts.

    The words are those of ``heedful validate``. The model's flags, gradients, hooks and random state are as before
    afterwards.

    Args:
        model: A module that maps token ids to logits, what ``heedful.load_model`` gives, a folder, checkpoint or hub
            name, or None: the model that ships with heedful.
        sequences: Sequences (``heedful.make_sequences``), token ids ``(sequence, token)`` or batches of them, strings,
            a tokenizer with the text after it, or how many sequences to cut from the text (64).
        text: Strings, a list of strings, or paths of text files; None for the text that ships with heedful.
        tokenizer: Where it is not the model's own: a tokenizer or its path.
        config: Config of a bare checkpoint.
        factory: ``package.module:function`` that builds the model.
        checkpoint: Weights for the model of ``factory``, or, with their ``config``, the model.
        seq_len: Tokens of a sequence that is cut from text.
        preset: ``quick``, ``standard`` or ``full``.
        null_models: Draws of that null; None takes the preset's number.
        null: What claims about learning are compared with: ``random`` or ``untrained`` (``Settings``).
        sequential: Whether to stop each ablation at the first of five looks at which it has decided.
        require: Claims that must pass.
        device: Where a model that is loaded computes.
        dtype: Number format of a model that is loaded.
        seed: Seed of every random choice.
        allow_global: Classes that a .pt checkpoint may hold.
        budget: Seconds that the validation may take: what matters least is left out, and listed, until it keeps to
            them.
        settings: Options and margins in one, in place of ``preset``, ``null_models``, ``sequential``, ``require``,
            ``seed`` and ``budget``.
        name: What to call the model.
        notes: Further remarks that the report should carry.
        progress: Called with (done, total, what).
        ranks: Processes that divide the text, each of which makes the whole report; None for this one alone.
        build: What built the model, called with a seed for each untrained model that it is compared with.
        cards: Whether to gather what a page shows of each head beside its row, too.
        adapter: Reads the attention that modules return (``heedful.interception.adapter``): the function, or its name,
            ``package.module:function``.
        override: Weights that broadcast to ``(batch, head, query, key)``, or a file of them: one more ablation in
            section 9 puts them in place of the learned ones.

    Returns:
        The report. It shows itself in a notebook, and has ``to_json()`` and ``save("page.html")``.

    Raises:
        UsageError: Words do not go together, or a required claim does not exist.
        InputRejected: A file, text or model is not what it should be.
        CaptureError: No attention call of the model could be met.

    Example:
        >>> import heedful
        >>> report = heedful.validate(heedful.load_model(), 16, seq_len=32, preset="quick", null_models=0)
        >>> len(report.sections)
        9
    """
    chosen = _settings(settings, preset, null_models, null, sequential, one_or_many(require), seed, budget)
    reading = Reading(
        config=config,
        factory=factory,
        checkpoint=checkpoint,
        seq_len=seq_len,
        device=device,
        dtype=dtype,
        seed=chosen.seed,
        allow_global=one_or_many(allow_global),
        ranks=ranks,
    )
    _refuse_a_part(model, ranks)
    reading_attention = _reading(adapter)
    weights = None
    if override is not None:
        from heedful.evaluation.given_weights import given_weights

        weights = given_weights(override)
    found = model_and_text(model, sequences, text, tokenizer, reading)
    from heedful.evaluation.nine_sections import validate as judge

    more: dict[str, Any] = {} if progress is None else {"progress": progress}
    more |= {} if weights is None else {"override": weights}
    with reading_attention:
        return judge(
            found.model,
            found.sequences,
            settings=chosen,
            name=name or found.name,
            notes=(*found.notes, *notes),
            ranks=ranks,
            build=build or found.build,
            cards=cards,
            **more,
        )


def _reading(adapter: str | Adapter | None) -> AbstractContextManager[None]:
    """A block in which an adapter, by itself or by its name, reads the attention that modules return."""
    if adapter is None:
        return nullcontext()
    from heedful.interception.adapter import reading_with
    from heedful.loading.factory import named_function

    return reading_with(named_function(adapter, "--adapter") if isinstance(adapter, str) else adapter)


def _refuse_a_part(model: GivenModel, ranks: Ranks | None) -> None:
    """One process of several would judge its own heads: said before the text is read, which may be right."""
    from torch import nn

    from heedful.distributed.ranks import ALONE
    from heedful.distributed.sharded import refuse_unshared
    from heedful.evaluation.running import unwrapped

    if isinstance(model, nn.Module):
        refuse_unshared(unwrapped(model)[0], ranks or ALONE)


def _settings(
    settings: Settings | None,
    preset: str,
    null_models: int | None,
    null: str,
    sequential: bool,
    require: tuple[str, ...],
    seed: int,
    budget: float | None,
) -> Settings:
    from heedful.evaluation.settings import Settings

    words = {
        "preset": preset,
        "null_models": null_models,
        "null": null,
        "sequential": sequential,
        "require": require,
        "seed": seed,
        "budget": budget,
    }
    if settings is None:
        return Settings(
            preset=preset,
            null_models=null_models,
            null=null,
            require=require,
            seed=seed,
            budget=budget,
            interim_analyses=LOOKS if sequential else 1,
        )
    usual = {
        "preset": "standard",
        "null_models": None,
        "null": "random",
        "sequential": False,
        "require": (),
        "seed": 0,
        "budget": None,
    }
    twice = [word for word, value in words.items() if value != usual[word]]
    if twice:
        raise UsageError(f"{twice[0]}: given twice: as an argument and in settings (set it in heedful.Settings)")
    if not isinstance(settings, Settings):
        raise UsageError(f"settings: expected heedful.Settings(...), got {type(settings).__name__}")
    return settings
