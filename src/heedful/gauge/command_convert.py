"""``heedful gauge convert``: convert a checkpoint of another gauge transformer to heedful's gauge model."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from heedful.commandline import options
from heedful.commandline.errors import guarded
from heedful.reporting.escape import visible

Checkpoint = Annotated[Path, typer.Argument(metavar="CKPT", help="Weights: .pt or .safetensors; read, never run.")]
Config = Annotated[
    Path,
    typer.Option(metavar="FILE", help="Its config: literals in a Python file (never executed), JSON, TOML or YAML."),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the model: absent or empty.")]
FeedForward = Annotated[
    Literal["learned", "variational", "none"] | None,
    typer.Option(metavar="NAME", help="In place of the checkpoint's: learned, variational or none."),
]


@guarded
def convert(
    checkpoint: Checkpoint,
    config: Config,
    out: Out,
    feed_forward: FeedForward = None,
    allow_global: options.AllowGlobal = None,
    debug: options.Debug = False,
) -> int:
    """Convert a checkpoint, save the model, and print what was carried over and what was not; the parameters are the
    options of the same name.

    Returns:
        The exit code, 0.
    """
    from heedful.errors import OutputError, UsageError
    from heedful.gauge.convert import convert as converted
    from heedful.reporting.write import filled_folder, write_atomic
    from heedful.training.saved_card import saved_card

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out}: expected an absent or empty folder (name another)")
    found = converted(checkpoint, config, feed_forward=feed_forward, allow_global=tuple(allow_global or ()))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with filled_folder(out, overwrite=False) as made:
            found.model.save_pretrained(made)
            write_atomic(made / "README.md", saved_card(found.model), overwrite=True)
    except OSError as error:
        raise OutputError(f"{out}: {error.strerror or error} (name another folder)") from error
    settings = found.model.config
    typer.echo(
        f"{visible(str(out))}: {settings.irreps}, {settings.num_hidden_layers} layers, {settings.vocab_size:,} tokens"
    )
    for name, what in found.carried.items():
        typer.echo(f"carried over: {visible(name)}: {what}")
    for what in found.left:
        typer.echo(f"not carried over: {visible(what)}")
    typer.echo("no tokenizer: copy the one that it was trained with into the folder, or give --tokenizer")
    return 0
