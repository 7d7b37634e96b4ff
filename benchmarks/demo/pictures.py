"""`python -m benchmarks.demo.pictures`: the demo's federation again, and pictures of its page while a round runs.

A real gateway, twelve real devices, a real Chromium: what the pictures in docs/img/page show was so.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Browser, sync_playwright
from rich.console import Console

from benchmarks.demo import stages
from benchmarks.demo.processes import Processes
from benchmarks.demo.settings import Settings, parse
from edge_runtime.wire.errors import FederationError

FOLDER: Final = Path("docs/img/page")
BROWSERS: Final = ("chromium-headless-shell", "chromium", "google-chrome")
Theme = Literal["light", "dark"]
WIDE: Final = (1280, 800)
PHONE: Final = (390, 1240)
LONG_ROUNDS: Final = ("--steps", "40", "--rounds", "6")
"""So that some devices are done while others train."""
PICTURES: Final[tuple[tuple[str, str, Theme, tuple[int, int]], ...]] = (
    ("overview-light", "/", "light", WIDE),
    ("overview-phone-light", "/", "light", PHONE),
    ("overview-dark", "/", "dark", WIDE),
    ("devices-light", "/devices", "light", WIDE),
    ("versions-dark", "/versions", "dark", WIDE),
    ("devices-phone-dark", "/devices", "dark", PHONE),
)
"""Name of the file, path, theme, and the size of the window in CSS pixels."""


class Photographer:
    """Takes the pictures once, in the middle of the rounds, when some of the devices have answered.

    Args:
        settings: of the demo.
        browser: that is started already, since a round is short.
    """

    def __init__(self, settings: Settings, browser: Browser) -> None:
        self._round, self._answers, self._browser = settings.rounds // 2 + 1, settings.devices // 4, browser
        self.taken: list[Path] = []

    def __call__(self, watcher: stages.Watcher) -> None:
        """Look whether it is time."""
        if not self.taken and watcher.round == self._round and len(watcher.answered) >= self._answers:
            FOLDER.mkdir(parents=True, exist_ok=True)
            self.taken = [self._take(watcher.page, *picture) for picture in PICTURES]

    def _take(self, url: str, name: str, path: str, theme: Theme, window: tuple[int, int]) -> Path:
        page = self._browser.new_page(viewport={"width": window[0], "height": window[1]}, color_scheme=theme)
        page.goto(url + path)
        page.screenshot(path=FOLDER / f"{name}.png", full_page=(path, window) == ("/", WIDE))
        page.close()
        return FOLDER / f"{name}.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; takes the demo's options."""
    settings = replace(parse([*LONG_ROUNDS, *(sys.argv[1:] if argv is None else argv)]), serve=True)
    console = Console()
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        sys.stderr.write("demo: no Chromium is installed; make browser-tools installs one\n")
        return 1
    shutil.rmtree(settings.out, ignore_errors=True)
    settings.out.mkdir(parents=True)
    try:
        with Processes(settings.out / "logs") as processes, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            photographer = Photographer(settings, browser)
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
