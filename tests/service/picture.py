"""The picture of the page, for the documentation.

    retort serve --teacher NAME --shadow 1       # and some requests, so that there are figures
    python -m tests.service.picture http://127.0.0.1:8080 docs/page.png [--dark] [--width 1120]

It ranks one of the page's own examples and waits for both rankings. The page is set in the
reader's system font; on a bare Debian, `apt-get install fonts-inter` and --font Inter look like it.
Where there is `pngquant` (Debian has it), the file becomes a third as large.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import subprocess
import time
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.service.browser import browser, set_media, set_size
from tests.service.running import PATIENCE_SECONDS

# In that time the live figures are there, and cover the requests that were just made.
REFRESH_SECONDS = 6


def wait_for_verdict(driver: Chrome) -> str:
    """Wait until every ranking that was asked for is there; the sentence above them."""
    verdict = driver.find_element(By.ID, "verdict")
    WebDriverWait(driver, PATIENCE_SECONDS).until(lambda _: verdict.text)
    return verdict.text


def take(driver: Chrome, file: Path, width: int) -> None:
    """Write the whole page, `width` pixels wide, to a PNG file."""
    set_size(driver, width, 800)
    height = driver.execute_script("return document.documentElement.scrollHeight")
    set_size(driver, width, height)
    # Not the driver's own screenshot: that one has the window's size.
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    file.write_bytes(base64.b64decode(shot["data"]))


def main() -> None:
    """Take the picture that the command line asks for."""
    parser = argparse.ArgumentParser(description="Take a picture of the page.")
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1120)
    parser.add_argument("--example", choices=("short", "long"), default="short")
    parser.add_argument("--font", help="take this font for the system's")
    asked = parser.parse_args()
    with browser() as driver:
        scheme = "dark" if asked.dark else "light"
        set_media(driver, prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
        set_size(driver, asked.width, 800)
        driver.get(asked.url)
        if asked.font:
            driver.execute_script("document.body.style.fontFamily = arguments[0]", asked.font)
        # Twice: the first request also pays for whatever was cold.
        for _ in range(2):
            driver.find_element(By.CSS_SELECTOR, f"[data-example={asked.example}]").click()
            print(wait_for_verdict(driver))
        driver.execute_script("document.activeElement.blur()")
        time.sleep(REFRESH_SECONDS)
        take(driver, asked.file, asked.width)
    if shutil.which("pngquant"):
        shrink = ["pngquant", "--nofs", "--speed", "1", "--force", "--ext", ".png", "256"]
        subprocess.run([*shrink, str(asked.file)], check=True)
    print(f"{asked.file}: {asked.file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
