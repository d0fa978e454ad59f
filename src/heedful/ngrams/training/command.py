"""``heedful ngrams train``: train a model with attention derived from counts, frozen or not."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.commandline.multi_process import printed_once
from heedful.training import command as shared

CountsFolder = Annotated[
    Path | None,
    typer.Argument(
        metavar="[COUNTS]",
        help="Folder that heedful ngrams count wrote. Without it the run counts its training documents, and no others.",
        show_default=False,
    ),
]
RecipeName = Annotated[str, typer.Option("--recipe", metavar="NAME", help="corrected, offset, or seed.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the recipe; may be given several times."),
]
Arm = Annotated[
    Literal["frozen", "trainable", "derived-start", "none", "none-wide"],
    typer.Option(
        metavar="NAME",
        help="Attention: frozen as derived; trainable from a random start; derived-start: trainable from the derived "
        "one; none; none-wide: none, and a feed-forward with as many numbers more.",
    ),
]
Embeddings = Annotated[
    Literal["frozen", "trainable", "linked"],
    typer.Option(metavar="NAME", help="frozen; trainable: attention is left behind; linked: attention follows."),
]
Relink = Annotated[int, typer.Option(metavar="K", min=1, help="Steps after which linked attention follows.")]
Tokenizer = Annotated[
    str,
    typer.Option(metavar="NAME|PATH", help="bpe or characters, learnt from the training text; or a folder or file."),
]
Vocabulary = Annotated[
    int | None, typer.Option(metavar="N", min=2, help="Vocabulary of the learned tokenizer. Without it: 512 of bpe.")
]
Length = Annotated[int | None, typer.Option(metavar="N", min=2, help="Tokens in a training window. Default: 128.")]


@guarded
@printed_once
def derived(
    out: shared.Out,
    counts: CountsFolder = None,
    recipe: RecipeName = "corrected",
    change: Changes = None,
    arm: Arm = "frozen",
    embeddings: Embeddings = "frozen",
    relink_every: Relink = 1,
    text: options.Text = None,
    steps: shared.Steps = 200,
    seed: shared.Seed = 0,
    resume: shared.Resume = False,
    tokenizer: Tokenizer = "bpe",
    vocabulary: Vocabulary = None,
    length: Length = None,
    batch: shared.Batch = 8,
    accumulation: shared.Accumulation = 1,
    learning_rate: shared.Rate = 2e-3,
    weight_decay: shared.Decay = 0.1,
    tied: shared.Tied = True,
    held_out: shared.HeldOut = 0.1,
    precision: shared.Precision = "float32",
    gradient_checkpointing: shared.Checkpointing = False,
    save_every: shared.SaveEvery = None,
    keep: shared.Kept = 2,
    device: shared.Device = "cpu",
    trackers: shared.Trackers = None,
    track_every: shared.TrackEvery = None,
    debug: options.Debug = False,
) -> int:
    """Train a model and print its held-out loss; the parameters are the options of the same name.

    Returns:
        The exit code, 0.
    """
    shared.ensure_accelerate()
    from heedful.ngrams.training.run_settings import DerivedRunSettings

    learnt = tokenizer in ("bpe", "characters")
    settings = DerivedRunSettings(
        recipe=recipe,
        changes=" ".join(re.sub(r"\s*=\s*", "=", one.strip()) for one in change or []),
        arm=arm,
        embeddings=embeddings,
        relink_every=relink_every,
        counts=None if counts is None else str(counts),
        units=tokenizer if learnt else "bpe",
        steps=steps,
        seed=seed,
        vocabulary=vocabulary,
        length=length,
        batch=batch,
        accumulation=accumulation,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        tied=tied,
        held_out=held_out,
        precision=precision,
        gradient_checkpointing=gradient_checkpointing,
        save_every=save_every,
        kept=keep,
        device=device,
        trackers=tuple(trackers or ()),
        track_every=track_every,
    )
    return shared.trained(settings, out, list(text or ()), None if learnt else Path(tokenizer), resume)
