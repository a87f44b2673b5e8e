"""The pictures of docs/report.md: `python docs/report_pictures.py OUT`; needs Chromium.

OUT is a study; its report is written to OUT/analysis, and shown in both themes and at both widths.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from secnn.analysis import report

SCREENS = {"wide": (1400, 1750), "phone": (390, 1750)}
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def main(out: Path) -> None:
    report.main([str(out)])
    program = next(filter(None, map(shutil.which, PROGRAMS)))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for theme in ("light", "dark"):
            for name, (width, height) in SCREENS.items():
                page = browser.new_page(
                    viewport={"width": width, "height": height}, color_scheme=theme
                )
                page.goto((out / "analysis" / "report.html").resolve().as_uri())
                page.wait_for_selector("html.ready")
                with Image.open(io.BytesIO(page.screenshot())) as shot:
                    small = shot.convert("RGB").quantize(256, kmeans=2)
                small.save(Path(__file__).with_name(f"report-{theme}-{name}.png"), optimize=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
