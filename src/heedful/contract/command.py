"""``heedful check``: does each query see exactly the keys it should, at the promised scale and positions?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heedful.commandline import options
from heedful.commandline.errors import FAILED, guarded
from heedful.commandline.forms import STANDARD_OUTPUT, Forms, print_written
from heedful.commandline.multi_process import own_device, processes_of, ranks_of_this_run, speaks
from heedful.reporting.escape import visible

if TYPE_CHECKING:
    from heedful.contract.record import ContractReport
    from heedful.loading.loaded_model import LoadedModel

SHOWN = 2
"""Sequences of a text that the model is given."""

BatchFile = Annotated[
    Path | None,
    typer.Option(
        "--batch",
        metavar="FILE",
        help="A batch as your own call passes it: a .safetensors or .pt file of named tensors, every key of it.",
    ),
]
Documents = Annotated[
    str | None,
    typer.Option(metavar="N,N,...", help="Lengths of the documents that are packed into each row: 512,300,212."),
]
ContractFile = Annotated[
    Path | None,
    typer.Option("--contract", metavar="FILE", help="Promises that overrule the config's, in TOML: window = 4096."),
]
NoBehaviour = Annotated[
    bool, typer.Option("--no-behaviour", help="Ask the kernels alone; change no token and take no gradient.")
]
Packed = Annotated[bool, typer.Option("--packed", help="Pack the sequences into one row, positions beginning again.")]


@guarded
def check_command(
    model: options.Model = None,
    config: options.Config = None,
    factory: options.Factory = None,
    checkpoint: options.Checkpoint = None,
    tokenizer: options.Tokenizer = None,
    text: options.Text = None,
    batch: BatchFile = None,
    packed: Packed = False,
    documents: Documents = None,
    contract: ContractFile = None,
    no_behaviour: NoBehaviour = False,
    seq_len: options.SeqLen = 128,
    device: options.Device = "auto",
    parallel: options.Parallel = "documents",
    dtype: options.DtypeOption = "auto",
    seed: options.Seed = 0,
    json: options.Json = None,
    html: options.Html = None,
    force: options.Force = False,
    allow_global: options.AllowGlobal = None,
    debug: options.Debug = False,
) -> int:
    """Check a model against the promises of its config and batch; the parameters are the options of the same name.

    Returns:
        The exit code: 0 where every promise that was judged holds, 1 where one is broken, 3 where nothing was captured.
    """
    from heedful.contract.check import check, read_batch
    from heedful.contract.record import Contract

    forms = Forms(json=json, html=html, force=force)
    forms.check()
    promised = Contract() if contract is None else Contract.read(contract)
    given = None if batch is None else read_batch(batch)
    processes = processes_of(parallel)
    with ranks_of_this_run(parallel) as ranks:
        shared: dict[str, Any] = {"tokenizer": tokenizer, "device": own_device(device), "dtype": dtype}
        shared["allow_globals"] = tuple(allow_global or ())
        loaded = _loaded(model, config, factory, checkpoint, seed, processes, shared)
        notes = list(loaded.notes)
        if given is None:
            given, more = _text_batch(loaded, text or [], seq_len, seed, packed)
            notes += more
        report = check(
            loaded.model,
            given,
            contract=promised,
            documents=None if documents is None else _labels(documents, given),
            tokenizer=loaded.tokenizer,
            behaviour=not no_behaviour,
        )
        if speaks(ranks):
            _print_report(report, notes, forms)
            if ranks is not None:
                ranks.first("word")
    return FAILED if report.broken else 0


def _print_report(report: "ContractReport", notes: list[str], forms: Forms) -> None:
    written = forms.write(json=report.to_json, html=report.to_html)
    if forms.json == STANDARD_OUTPUT:
        typer.echo(report.to_json(), nl=False)
    else:
        for line in (*str(report).splitlines(), *(f"note: {note}" for note in notes)):
            typer.echo(visible(line))
    print_written(written)


def _loaded(
    model: str | None,
    config: Path | None,
    factory: str | None,
    checkpoint: Path | None,
    seed: int,
    processes: int,
    shared: dict[str, Any],
) -> "LoadedModel":
    """The model that the command names.

    Raises:
        UsageError: Options do not go together.
    """
    from heedful.errors import UsageError

    if factory is None:
        if checkpoint is not None:
            raise UsageError(f"--checkpoint {checkpoint}: weights for the model of a --factory (name it as the MODEL)")
        from heedful.loading.loaded_model import load_model

        return load_model(model, config=config, processes=processes, **shared)
    if processes > 1:
        raise UsageError(f"--factory {factory}: --parallel tensor divides a MODEL by transformers' plan for it")
    if model is not None or config is not None:
        raise UsageError(f"--factory {factory}: builds the model itself (leave MODEL and --config out)")
    from heedful.loading.factory import load_factory

    return load_factory(factory, checkpoint=checkpoint, seed=seed, **shared)


def _text_batch(
    loaded: "LoadedModel", text: list[Path], seq_len: int, seed: int, packed: bool
) -> tuple[dict[str, Any], list[str]]:
    """Two sequences of a text, as they come or packed into one row."""
    import torch

    from heedful.contract.running import text_keywords
    from heedful.loading.documents import load_documents
    from heedful.loading.sequences import make_sequences

    made = make_sequences(
        load_documents(text or None),
        loaded.tokenizer,
        seq_len=seq_len,
        sequences=SHOWN,
        seed=seed,
        max_positions=loaded.max_positions,
        vocab_size=loaded.vocab_size,
        trained_positions=loaded.trained_positions,
    )
    ids, mask = made.input_ids[:SHOWN], made.attention_mask[:SHOWN]
    if not packed:
        return text_keywords(loaded.model, ids, mask), list(made.notes)
    rows = [row[real.bool()] for row, real in zip(ids, mask, strict=True)]
    positions = torch.cat([torch.arange(len(row)) for row in rows])[None]
    return {"input_ids": torch.cat(rows)[None], "position_ids": positions, "use_cache": False}, list(made.notes)


def _labels(lengths: str, batch: Any) -> Any:
    """Labels of packed documents from their lengths; what is left over is padding of no document.

    Raises:
        UsageError: They are no lengths, or longer than a row.
    """
    import torch

    from heedful.errors import UsageError

    ids = batch.get("input_ids", batch.get("inputs_embeds"))
    try:
        sizes = [int(one) for one in lengths.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise UsageError(f"--documents {lengths}: expected lengths of documents, as in 512,300,212")
    if ids is None or sum(sizes) > ids.shape[1]:
        row = "no input_ids" if ids is None else f"rows of {ids.shape[1]}"
        raise UsageError(f"--documents {lengths}: {sum(sizes)} tokens, the batch has {row}")
    labels = torch.full((ids.shape[1],), -1)
    labels[: sum(sizes)] = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return labels[None].expand(ids.shape[0], -1)
