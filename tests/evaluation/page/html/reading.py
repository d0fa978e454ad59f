"""The page as a strict reader sees it: its tags, attributes and texts, by the standard library's parser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any


class Page(HTMLParser):
    """Everything in a page: ``tags`` as (name, attributes), ``scripts`` and ``styles`` as text, ``text`` elsewhere."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.bodies: dict[str, list[str]] = {"script": [], "style": []}
        self.text = ""
        self.inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag in self.bodies:
            self.inside = tag
            self.bodies[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag == self.inside else self.inside

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.bodies[self.inside][-1] += data
        else:
            self.text += data

    @property
    def data(self) -> Any:
        """What the map is drawn from."""
        return json.loads(self.bodies["script"][0])

    @property
    def policy(self) -> str:
        (found,) = [a["content"] for tag, a in self.tags if tag == "meta" and "http-equiv" in a]
        return found or ""


def hashed(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def assert_closed(html: str) -> Page:
    """Exactly our own scripts and styles, by hash; no handler, no inline style, no reference to anything outside."""
    page = Page(html)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert [tag for tag, _ in page.tags].count("style") == 1
    types = [attributes.get("type") for tag, attributes in page.tags if tag == "script"]
    assert types == ["application/json", None]
    assert page.policy == (
        f"default-src 'none'; script-src {hashed(page.bodies['script'][1])}; "
        f"style-src {hashed(page.bodies['style'][0])}; img-src data:; base-uri 'none'; form-action 'none'"
    )
    for tag, attributes in page.tags:
        assert tag not in {"iframe", "object", "embed", "base", "form"} or attributes.get("id") == "controls"
        for name, value in attributes.items():
            assert not name.startswith("on") and name != "style", (tag, name)
            if name in {"src", "href", "action", "srcset", "data", "poster", "xlink:href"}:
                assert re.match(r"#[\w-]+$|data:(image/svg\+xml;base64,[A-Za-z0-9+/=]+|,)$", value or ""), (tag, value)
    assert "@import" not in html and "url(" not in page.bodies["style"][0]
    return page
