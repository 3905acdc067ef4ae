"""Draw the head of a report's page as an image for README.

    PYTHONPATH=. python tools/page_image.py results/report.html docs/page.webp

`make page-image` does so with the results of `make demo`. It needs Chromium.
"""

from __future__ import annotations

import base64
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests import browser

WIDTH, HEIGHT = 1200, 1135  # CSS pixels that are shown
MOST = 150_000  # bytes


def drawn(page: Path) -> Image.Image:
    """Return the head of an HTML page, in the light theme.

    Raises:
        SystemExit: there is no Chromium.
    """
    program = browser.installed()
    if program is None:
        sys.exit("Chromium is needed")
    size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1.5, "mobile": False}
    with (
        tempfile.TemporaryDirectory() as profile,
        browser.Browser(program, Path(profile)) as running,
        running.page() as tab,
    ):
        tab.call("Emulation.setDeviceMetricsOverride", **size)
        tab.call("Emulation.setScrollbarsHidden", hidden=True)
        tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
        tab.open(page)
        shown = tab.call("Page.captureScreenshot", format="png")["data"]
    return Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB")


def main() -> None:
    """Write the image that the second argument names, in the best quality that is small enough."""
    page, target = map(Path, sys.argv[1:])
    image = drawn(page)
    for quality in (90, 80, 70, 60, 50):
        image.save(target, quality=quality, method=6)
        if target.stat().st_size <= MOST:
            break
    print(f"{target}: {image.width} x {image.height}, {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
