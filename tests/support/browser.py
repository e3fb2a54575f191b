"""Pages in Chromium: what they say on the console, what they ask for, what axe-core finds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

VIEWS = [(width, scheme) for width in (1200, 390) for scheme in ("light", "dark")]
"""Widths and colour schemes that every page is tried at."""


@contextmanager
def visited(page: Path, width: int, scheme: str) -> Iterator[Any]:
    """A page in Debian's Chromium, else in Playwright's own.

    On leaving, it must have said nothing on the console, asked for no other address, and not be
    wider than the window.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    installed = shutil.which("chromium") or shutil.which("chromium-browser")
    options = ["--no-sandbox", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=installed, args=options)
        except Exception as error:
            if installed is None and "Executable doesn't exist" in str(error):
                pytest.skip("no browser: apt install chromium, or playwright install chromium")
            raise
        tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        said: list[str] = []
        asked: list[str] = []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.as_uri())
        yield tab
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert said == []
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}


def violations(tab: Any) -> list[str]:
    """The accessibility rules of axe-core that a page breaks, and where; all rules are tried."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(tab).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {[node['html'][:200] for node in rule['nodes'][:3]]}"
        for rule in found
    ]
