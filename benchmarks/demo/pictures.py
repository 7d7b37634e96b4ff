"""`python -m benchmarks.demo.pictures`: the demo's federation again, and pictures of its page while a round runs.

A real gateway, twelve real devices, a real Chromium: what the pictures in docs/img/page show was so.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.demo import stages
from benchmarks.demo.processes import Processes
from benchmarks.demo.settings import Settings, parse
from edge_runtime.wire.errors import FederationError

FOLDER: Final = Path("docs/img/page")
BROWSERS: Final = ("chromium-headless-shell", "chromium", "google-chrome")
WIDE: Final = (1280, 800)
PHONE: Final = (390, 844)
PICTURES: Final = (
    ("overview-light", "/", "light", WIDE),
    ("overview-dark", "/", "dark", WIDE),
    ("devices-light", "/devices", "light", WIDE),
    ("versions-dark", "/versions", "dark", WIDE),
    ("overview-phone-light", "/", "light", PHONE),
    ("devices-phone-dark", "/devices", "dark", PHONE),
)
"""Name of the file, path, theme, and the size of the window in CSS pixels."""


class Photographer:
    """Takes the pictures once, when some but not all devices of one of the last rounds have answered."""

    def __init__(self, settings: Settings, chromium: str) -> None:
        self._round, self._answers, self._chromium = settings.rounds, settings.devices // 2, chromium
        self.taken: list[Path] = []

    def __call__(self, watcher: stages.Watcher) -> None:
        """Look whether it is time."""
        if not self.taken and watcher.round == self._round and len(watcher.answered) >= self._answers:
            self.taken = take(watcher.page, FOLDER, self._chromium)


def take(url: str, folder: Path, chromium: str) -> list[Path]:
    """Take pictures of a page. Args: url: of it; folder: for the files; chromium: path of the browser."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - a tool of the tests, which users lack

    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, path, theme, (width, height) in PICTURES:
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme="dark" if theme == "dark" else "light"
            )
            page.goto(url + path)
            page.screenshot(path=folder / f"{name}.png", full_page=True)
        browser.close()
    return [folder / f"{name}.png" for name, *_ in PICTURES]


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; takes the demo's options."""
    settings = replace(parse(argv), serve=True)
    console = Console()
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        sys.stderr.write("demo: no Chromium is installed; make browser-tools installs one\n")
        return 1
    shutil.rmtree(settings.out, ignore_errors=True)
    settings.out.mkdir(parents=True)
    photographer = Photographer(settings, chromium)
    try:
        with Processes(settings.out / "logs") as processes:
            data = stages.prepare(settings)
            packages = stages.export_packages(settings, data, processes, console)
            stages.federate(settings, data, packages, processes, console, look=photographer)
    except FederationError as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    for path in photographer.taken:
        console.print(f"picture: {path}")
    return 0 if photographer.taken else 1


if __name__ == "__main__":
    sys.exit(main())
