"""Take the picture of a report that README shows. It needs playwright and Chromium.

Run it from the repository root, after the evaluation of docs/tutorials/biq2021.md:
    python scripts/report_picture.py runs/biq2021_comparison/report.html docs/images/report.png
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1200, 1455


def main() -> None:
    """Write the upper part of the page as a PNG of 256 colours."""
    page, picture = (Path(argument) for argument in sys.argv[1:])
    installed = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        tab.goto(page.resolve().as_uri())
        tab.wait_for_selector(".chart canvas, .chart svg")
        tab.wait_for_timeout(1000)  # the other charts
        taken = tab.screenshot()
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(256).save(picture, optimize=True)


if __name__ == "__main__":
    main()
