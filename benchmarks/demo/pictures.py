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
from benchmarks.demo.processes import ChildError, Processes
from benchmarks.demo.settings import Settings, parse
from edge_runtime.wire.errors import FederationError

FOLDER: Final = Path("docs/img/page")
BROWSERS: Final = ("chromium-headless-shell", "chromium", "google-chrome")
Theme = Literal["light", "dark"]
WIDE: Final = (1280, 800)
PHONE: Final = (390, 1240)
LONG_ROUNDS: Final = ("--steps", "40", "--rounds", "8")
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
    """Takes one picture after the other, each while some devices of a round have answered and others have not.

    Args:
        settings: of the demo.
        browser: that is started already, since a round is short.
    """

    def __init__(self, settings: Settings, browser: Browser) -> None:
        self._first, self._some, self._browser = settings.rounds // 2, settings.devices // 4, browser
        self._most = settings.devices - self._some
        self.to_take = list(PICTURES)

    def __call__(self, watcher: stages.Watcher) -> None:
        """Look whether it is time."""
        if self.to_take and watcher.round >= self._first and self._some <= len(watcher.answered) <= self._most:
            FOLDER.mkdir(parents=True, exist_ok=True)
            self._take(watcher.page, *self.to_take.pop(0))

    def _take(self, url: str, name: str, path: str, theme: Theme, window: tuple[int, int]) -> None:
        page = self._browser.new_page(viewport={"width": window[0], "height": window[1]}, color_scheme=theme)
        answer = page.goto(url + path)
        if answer is None or not answer.ok:
            raise ChildError(f"{url}{path} cannot be shown: {page.inner_text('main')}")
        page.screenshot(path=FOLDER / f"{name}.png", full_page=(path, window) == ("/", WIDE))
        page.close()


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
    if photographer.to_take:
        names = ", ".join(name for name, *_ in photographer.to_take)
        sys.stderr.write(f"demo: the rounds were too short for {names}; try more --rounds or --steps\n")
        return 1
    console.print(f"pictures: {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
