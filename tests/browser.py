"""Debian's chromium, driven as a reader drives it; skipped where it is not installed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
QUIET = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--enable-unsafe-swiftshader", "--force-device-scale-factor=1",
    "--hide-scrollbars",
)  # fmt: skip


@contextmanager
def chromium(folder: Path) -> Iterator[Any]:
    """A browser with an empty profile in ``folder``, its console and its requests logged."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium and chromedriver are not installed")
    webdriver = pytest.importorskip("selenium.webdriver")
    os.environ["SE_OFFLINE"] = "true"  # never look for another driver
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in (
        *QUIET,
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1280,900",
        "about:blank",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.get("about:blank")
        requested(driver)  # those of the page that a new window shows
        yield driver
    finally:
        driver.quit()


def requested(driver: Any) -> list[str]:
    """Addresses that pages asked for since the last call, but for the browser's own."""
    messages = [json.loads(e["message"])["message"] for e in driver.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    urls = [one["request"]["url"] for one in sent]
    return [url for url in urls if not url.startswith(("chrome", "data:", "about:", "blob:"))]


def complaints(driver: Any) -> list[str]:
    """What the console got since the last call: warnings and errors."""
    found = [e["message"] for e in driver.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
    # The software renderer, about its own speed.
    return [text for text in found if "GL Driver Message" not in text]


def shot(driver: Any, name: str, folder: Path) -> Path:
    """A screenshot, in the folder that DILNAS_ARTEFACTS names if it is set."""
    kept = Path(os.environ.get("DILNAS_ARTEFACTS") or folder)
    kept.mkdir(parents=True, exist_ok=True)
    path = kept / f"{name}.png"
    driver.save_screenshot(str(path))
    return path


def set_screen(driver: Any, width: int, height: int, *, dark: bool = False) -> None:
    """The size of the window and the theme that the reader prefers."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
