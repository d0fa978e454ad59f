"""Inputs shared by the n-gram commands."""

from pathlib import Path
from typing import Annotated

import typer

CountsFolder = Annotated[Path, typer.Argument(metavar="COUNTS", help="Folder that heedful ngrams count wrote.")]
