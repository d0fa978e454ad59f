"""Hooks of mkdocs: pages made from the code and from the root of the repository, and links that leave the site."""

from __future__ import annotations

import os
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PROJECT = {
    "SECURITY.md": "project/security.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "DESIGN.md": "project/design.md",
    "CHANGELOG.md": "project/changelog.md",
}
"""Files of the repository's root that are pages of the site."""
BOOST = {"how-to": 3, "gallery": 2, "faq.md": 2, "log": 0.5, "explanation": 0.7, "experiments": 0.5, "project": 0.5}
"""Folder or page to its weight in a search: what to do comes before how it was decided."""
LINK = re.compile(r"(!?)\[([^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*)\]\(([^()\s]+)\)")


def _reference() -> Any:
    """The generator beside this file; mkdocs restores Python's path after it has read the hooks."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    import reference

    return reference


def on_config(config: Any) -> Any:
    """Put the reference's pages into the navigation."""
    for entry in config.nav:
        if entry == {"Reference": ["reference"]}:
            entry["Reference"] = _reference().navigation()
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made: of the reference, and of the repository's root."""
    from mkdocs.structure.files import File

    made = _reference().pages() | {page: (ROOT / name).read_text(encoding="utf-8") for name, page in PROJECT.items()}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links to the repository's root become links to its pages; links to files outside the site become words."""
    source = page.file.src_uri
    page.meta.setdefault("search", {"boost": BOOST.get(source.partition("/")[0], 1)})
    origin = next((name for name, path in PROJECT.items() if path == source), None)
    return mended(markdown, source, f"docs/{source}" if origin is None else origin, set(files.src_uris))


def mended(markdown: str, source: str, origin: str, known: set[str]) -> str:
    """Markdown with its links as they are in the site.

    Args:
        markdown: Of the page.
        source: Path of the page in the site.
        origin: Path of its file in the repository.
        known: Paths of every file of the site.
    """

    def one(found: re.Match[str]) -> str:
        picture, text, target = found.groups()
        path, mark, anchor = target.partition("#")
        if "://" in target or not path or target.startswith("mailto:"):
            return found[0]
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
        for folder in (inside, f"{inside}/README.md", f"{inside}/index.md"):
            page = PROJECT.get(folder, folder.removeprefix("docs/"))
            if page in known and (folder in PROJECT or folder.startswith("docs/")):
                return f"{picture}[{text}]({posixpath.relpath(page, posixpath.dirname(source) or '.')}{mark}{anchor})"
        if os.path.exists(ROOT / inside):
            return text if text.startswith("`") else f"{text} (`{inside}`)"
        return found[0]

    pieces = re.split(r"(^```.*?^```[ \t]*$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(piece if piece.startswith("```") else LINK.sub(one, piece) for piece in pieces)
