"""``heedful train``: train the reference decoder on your text, with stop and resume."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from heedful.commandline import options
from heedful.commandline.errors import Terminated, guarded
from heedful.commandline.multi_process import printed_once
from heedful.commandline.progress import progress_bar
from heedful.reporting.escape import visible

if TYPE_CHECKING:
    from heedful.training.run_settings import RunSettings

Out = Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run: empty or absent, or with --resume its own.")]
Preset = Annotated[
    Literal["tiny", "small", "narrow", "seed"], typer.Option(metavar="NAME", help="Sizes: tiny, small, narrow, seed.")
]
Steps = Annotated[int, typer.Option(metavar="N", min=1, help="Steps of the optimiser.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="Seed of weights, split and order.")]
Resume = Annotated[bool, typer.Option("--resume", help="Resume from the last complete checkpoint of RUN.")]
Tokenizer = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Folder or tokenizer.json. Without it: one learned from the text.")
]
Vocabulary = Annotated[
    int | None,
    typer.Option(metavar="N", min=258, help="Vocabulary of the learned tokenizer. Without it: the preset's."),
]
Length = Annotated[int | None, typer.Option(metavar="N", min=2, help="Tokens of a window. Without it: the preset's.")]
Batch = Annotated[int, typer.Option(metavar="N", min=1, help="Windows a process and part of a step.")]
Accumulation = Annotated[int, typer.Option("--accumulate", metavar="N", min=1, help="Parts of a step.")]
Rate = Annotated[float, typer.Option(metavar="X", min=0, help="Peak of the learning rate.")]
Decay = Annotated[float, typer.Option(metavar="X", min=0, help="Weight decay of matrices.")]
GainDecay = Annotated[
    float, typer.Option("--gain-weight-decay", metavar="X", min=0, help="Weight decay of the gains of norms.")
]
Penalty = Annotated[
    float,
    typer.Option(
        "--max-share-penalty", metavar="X", min=0, help="Weight of the penalty on dominant key components in the loss."
    ),
]
TrackEvery = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Record attention every so many steps, for heedful watch RUN.")
]
Attention = Annotated[str, typer.Option(metavar="NAME", help="Attention variant: softmax.")]
QkNorm = Annotated[bool, typer.Option("--qk-norm/--no-qk-norm", help="Normalise queries and keys, or do not.")]
Tied = Annotated[bool, typer.Option("--tied/--untied", help="The head is the embedding, or has its own weights.")]
HeldOut = Annotated[float, typer.Option(metavar="X", min=0, max=0.9, help="Share of documents held out from training.")]
Precision = Annotated[
    Literal["float32", "bfloat16"], typer.Option(metavar="NAME", help="float32, or bfloat16 autocast.")
]
Checkpointing = Annotated[
    bool, typer.Option("--gradient-checkpointing", help="Compute layers again in the backward, to save memory.")
]
SaveEvery = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Steps between checkpoints. Without it: an eighth of the run.")
]
Kept = Annotated[int, typer.Option("--keep", metavar="N", min=2, help="Checkpoints kept, the latest.")]
Device = Annotated[Literal["cpu", "auto"], typer.Option(metavar="NAME", help="cpu, or auto: whatever is there.")]
Trackers = Annotated[
    list[str] | None, typer.Option("--report-to", metavar="NAME", help="Where curves go: tensorboard, mlflow, ...")
]


@guarded
@printed_once
def decoder(
    out: Out,
    preset: Preset = "tiny",
    text: options.Text = None,
    steps: Steps = 200,
    seed: Seed = 0,
    resume: Resume = False,
    tokenizer: Tokenizer = None,
    vocabulary: Vocabulary = None,
    length: Length = None,
    batch: Batch = 8,
    accumulation: Accumulation = 1,
    learning_rate: Rate = 2e-3,
    weight_decay: Decay = 0.1,
    gain_weight_decay: GainDecay = 0.0,
    max_share_penalty: Penalty = 0.0,
    attention: Attention = "softmax",
    qk_norm: QkNorm = True,
    tied: Tied = True,
    held_out: HeldOut = 0.1,
    precision: Precision = "float32",
    gradient_checkpointing: Checkpointing = False,
    save_every: SaveEvery = None,
    keep: Kept = 2,
    device: Device = "cpu",
    trackers: Trackers = None,
    track_every: TrackEvery = None,
    debug: options.Debug = False,
) -> int:
    """Train a decoder and print its held-out loss; the parameters are the options of the same name.

    Returns:
        The exit code, 0.
    """
    ensure_accelerate()
    ensure_trackers(trackers or ())
    from heedful.training.run_settings import RunSettings

    settings = RunSettings(
        preset=preset,
        steps=steps,
        seed=seed,
        attention=attention,
        qk_norm=qk_norm,
        tied=tied,
        vocabulary=vocabulary,
        length=length,
        batch=batch,
        accumulation=accumulation,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        gain_weight_decay=gain_weight_decay,
        max_share_penalty=max_share_penalty,
        held_out=held_out,
        precision=precision,
        gradient_checkpointing=gradient_checkpointing,
        save_every=save_every,
        kept=keep,
        device=device,
        trackers=tuple(trackers or ()),
        track_every=track_every,
    )
    return trained(settings, out, list(text or ()), tokenizer, resume)


def trained(settings: "RunSettings", out: Path, text: list[Path], tokenizer: Path | None, resume: bool) -> int:
    """Train a model, print its held-out loss, and return exit code 0."""
    from heedful.loading.documents import load_documents
    from heedful.training.decoder_run import train_decoder
    from heedful.training.run_folder import RunFolder

    speaks = os.environ.get("RANK", "0") == "0"
    documents = load_documents(text or None)
    try:
        with progress_bar(speaks) as progress:
            found = train_decoder(
                settings, documents, out, tokenizer=tokenizer, resume=resume, progress=progress, tell=_print_line
            )
    except (KeyboardInterrupt, Terminated) as stopped:
        last = RunFolder(out).last_checkpoint()
        stopped.args = (f"after {last.name}: resume with --resume" if last else "before the first checkpoint",)
        raise
    if speaks:
        worth = f"{found['held_out_loss']:.3f} nat/token, {found['bits_per_byte']:.3f} bits/byte"
        typer.echo(f"held out: {worth} on {found['tokens']:,} tokens of {found['documents']} documents")
        typer.echo(f"wrote {visible(out)}", err=True)
    return 0


def _print_line(line: str) -> None:
    typer.echo(visible(line), err=True)


def ensure_trackers(names: Sequence[str]) -> None:
    """Raise an error if ``names`` asks for TensorBoard and it is not installed."""
    from importlib.util import find_spec

    from heedful.errors import UsageError

    if "tensorboard" in names and not any(map(find_spec, ("tensorboard", "tensorboardX"))):
        message = "tensorboard is not installed (pip install 'heedful[tensorboard]')"
        raise UsageError(f"--report-to tensorboard: {message}")


def ensure_accelerate(extra: str = "train") -> None:
    """Raise an error if accelerate, which the Trainer needs, is not installed; ``extra`` is the extra of heedful that
    installs it.
    """
    from importlib.util import find_spec

    from heedful.errors import UsageError

    if find_spec("accelerate") is None:
        raise UsageError(f"train: needs accelerate, which is not installed (pip install 'heedful[{extra}]')")
