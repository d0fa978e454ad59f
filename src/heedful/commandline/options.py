"""Options shared by several commands, each defined once: name, limits and help line.

Inputs shared by the n-gram commands.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

Preset = Literal["quick", "standard", "full"]
Division = Literal["documents", "tensor"]
Dtype = Literal["auto", "float64", "float32", "bfloat16", "float16"]

LARGEST_SEED = 2**63 - 1

Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A folder that transformers can load, a hub name, a checkpoint (.safetensors, .pt) with its --config, "
        "a GGUF file, or nothing: the model that ships with heedful.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Config of a bare checkpoint: JSON, TOML, YAML, or literals in a Python file (never executed).",
    ),
]
Factory = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="Build the model with your own code: package.module:function, importable here, called without arguments.",
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Weights: .safetensors, .pt or a folder of them; of the model of --factory, or with their --config.",
    ),
]
Adapter = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FUNCTION",
        help="Read the attention that your modules return: package.module:function, importable here; a function from "
        "a module to a reader of its output, or None.",
    ),
]
Override = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Weights (.pt, .npy or .safetensors, one float tensor) that broadcast to (batch, head, query, key); one "
        "more ablation puts them in place of the learned ones.",
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Tokenizer, where it is not the model's: a folder, tokenizer.json, vocab.txt or a hub name.",
    ),
]
Text = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Text files, one or more. Without it: the text that ships with heedful."),
]
Pairs = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Rank heads by their weight on these pairs: CSV with columns query, key (and sequence), or a JSON list.",
    ),
]
SeqLen = Annotated[int, typer.Option(metavar="N", min=2, help="Tokens a sequence.")]
Sequences = Annotated[int, typer.Option(metavar="N", min=1, help="How many sequences to read.")]
PresetOption = Annotated[Preset, typer.Option(help="How much to measure: quick, standard, full.", metavar="NAME")]
NullModels = Annotated[
    int | None,
    typer.Option(metavar="R", min=0, help="Number of null draws, see --null. Default: as in the preset."),
]
Budget = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        min=1,
        help="Time that the validation may take: what matters least is left out, and listed, until it keeps to it.",
    ),
]
Null = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What claims about learning must exceed: random (query and key projections in random directions, on the "
        "model's own inputs) or untrained (fresh models of the same config).",
    ),
]
Sequential = Annotated[
    bool,
    typer.Option("--sequential", help="Stop each ablation at the first of five interim analyses that decides it."),
]
Require = Annotated[
    list[str] | None,
    typer.Option(metavar="CLAIM", help="Claims that must pass, one or more; anything else fails the validation."),
]
Device = Annotated[
    str, typer.Option(metavar="NAME", help="Where to compute: auto (a GPU if there is one), cpu, cuda, cuda:1, mps.")
]
Parallel = Annotated[
    Division,
    typer.Option(
        metavar="WORD",
        help="What processes of torchrun divide: documents, each with the whole model, or tensor: the model's heads.",
    ),
]
DtypeOption = Annotated[
    Dtype, typer.Option(metavar="NAME", help="Number format of the model: auto, float64, float32, bfloat16, float16.")
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, max=LARGEST_SEED, help="Seed of every random choice.")]
Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="PATH", help="Also write the report as JSON; - writes it alone to standard output."),
]
Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="PATH", help="Also write the report as one self-contained page for a browser."),
]
Figures = Annotated[
    Path | None, typer.Option("--figures", metavar="DIR", help="Also save every figure there, as SVG and PNG.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are not earlier heedful reports.")]
AllowGlobal = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="A class that a .pt checkpoint may hold, argparse.Namespace say."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Out = Annotated[Path | None, typer.Option(metavar="PATH", help="Save the table: a path that ends in .csv or .parquet.")]
JsonRows = Annotated[
    Path | None,
    typer.Option("--json", metavar="PATH", help="Also write the rows as JSON; - writes them alone to standard output."),
]
Brief = Annotated[bool, typer.Option("--brief", help="Show the verdict and what matters in at most 25 lines.")]
Markdown = Annotated[
    Path | None,
    typer.Option("--markdown", metavar="PATH", help="Also write a summary for a CI job, to $GITHUB_STEP_SUMMARY say."),
]
Junit = Annotated[
    Path | None, typer.Option("--junit", metavar="PATH", help="Also write JUnit XML, one test case a check.")
]


CountsFolder = Annotated[Path, typer.Argument(metavar="COUNTS", help="Folder that heedful ngrams count wrote.")]
