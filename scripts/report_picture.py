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
from playwright.sync_api import FloatRect, sync_playwright

WIDTH = 1200


def main() -> None:
    """Write the page down to its first row of charts as a PNG of 256 colours."""
    page, picture = (Path(argument) for argument in sys.argv[1:])
    installed = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDTH, "height": 900}, color_scheme="light")
        tab.goto(page.resolve().as_uri())
        charts = tab.locator(".charts").first
        charts.scroll_into_view_if_needed()
        for chart in charts.locator(".chart").all():
            chart.locator("svg").wait_for()
        tab.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
        box = charts.bounding_box()
        assert box is not None
        end = round(box["y"] + box["height"] + 24)
        clip = FloatRect(x=0, y=0, width=WIDTH, height=end)
        taken = tab.screenshot(full_page=True, clip=clip)
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(256).save(picture, optimize=True)


if __name__ == "__main__":
    main()
