"""Run the scripts of the gallery as notebooks; write each with its output beside it, as a notebook and as Markdown.

python docs/gallery.py docs/gallery [NAME ...]
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import jupytext
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

SECONDS = 900
"""Longest that one cell may take."""


def main() -> None:
    """Execute every script of a folder, or those named, each in its own kernel there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="scripts without .py; all by default")
    wanted = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for script in sorted(wanted.folder.glob("*.py")):
        if not wanted.names or script.stem in wanted.names:
            notebook = executed(script)
            script.with_suffix(".md").write_text(as_page(notebook, script.name), encoding="utf-8")
            script.with_suffix(".ipynb").write_text(as_file(notebook), encoding="utf-8")


def executed(script: Path) -> Any:
    """The script as a notebook with its output; a cell that raises ends the run.

    What goes to standard error, warnings and progress, is left out: it names paths of one machine.
    """
    notebook = jupytext.read(script)
    notebook.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    folder = {"metadata": {"path": str(script.parent)}}
    NotebookClient(notebook, timeout=SECONDS, resources=folder, coalesce_streams=True).execute()
    for cell in (one for one in notebook.cells if one["cell_type"] == "code"):
        cell["outputs"] = [one for one in cell.get("outputs", []) if one.get("name") != "stderr"]
    return notebook


def as_page(notebook: Any, name: str) -> str:
    """An executed notebook as Markdown."""
    body, _ = MarkdownExporter().from_notebook_node(notebook)
    lines = [line.rstrip() for line in f"<!-- made from {name} by make docs -->\n{body}".splitlines()]
    return "\n".join(lines).rstrip() + "\n"


def as_file(notebook: Any) -> str:
    """An executed notebook as it is stored: equal runs give equal files, without times and names of one machine."""
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell["metadata"] = {}
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "language_info": {"name": "python"}}
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    main()
