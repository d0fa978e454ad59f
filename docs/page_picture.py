"""A picture of a report's page for the README: the page in headless Chromium at the map of heads.

::

    python docs/page_picture.py build/report.html docs/report.png
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

WIDTH, HEIGHT = 1200, 860
NAMES = ("chromium", "chromium-browser", "google-chrome")


def main(page: str, picture: str) -> None:
    """Open the page, show the map and the card of its most concentrated head, and save what is seen."""
    from playwright.sync_api import sync_playwright

    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        raise SystemExit("no chromium on this machine: the picture stays as it is")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        opened.goto(Path(page).resolve().as_uri())
        opened.evaluate("document.getElementById('heads').scrollIntoView()")
        opened.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:3])
