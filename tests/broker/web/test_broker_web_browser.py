"""The page in a real Chromium: it logs in, stays up to date, fits a phone, breaks no rule of its own, and revokes.

Playwright drives the browser that Debian's package chromium-headless-shell brings: it starts any Chromium by its path,
needs no network and no driver program that has to match the browser, and waits for what a page does.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from served import TOKEN, Served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None)
EVIL = "<script>document.title='taken'</script>"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; make browser-tools installs one")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Return a gateway in its second round, to which one of three devices has answered."""
    served = Served(tmp_path_factory.mktemp("browser"), TOKEN, evaluate=True)
    served.join("a", slots=1, limit=2, profile=EVIL, runtime=EVIL)
    served.join("b", slots=2, limit=1)
    served.join("c", slots=4, limit=1)
    served.wait_for_version(2)
    served.wait(lambda: served.service.live is not None and len(served.service.live.round.answered) == 1)
    yield served
    served.close()


class Tab:
    """A logged-in tab that keeps what the browser complains of."""

    def __init__(
        self, browser: Any, gateway: Served, *, width: int = 1280, theme: str = "light", scripts: bool = True
    ) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 844},
            color_scheme=theme,
            java_script_enabled=scripts,
            base_url=gateway.url,
        )
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda request: self.complaints.append(request.url))
        self.page.goto("/")
        self.page.get_by_label("Token").fill(TOKEN)
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("heading", name="Round 2 is open").wait_for()

    def close(self) -> None:
        """Close it; the browser complained of nothing, policies included."""
        self.context.close()
        assert self.complaints == []

    def colour(self) -> list[int]:
        """Return red, green and blue of the page's ground."""
        text = self.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return [int(part) for part in text.removeprefix("rgb(").removesuffix(")").split(",")]


def test_log_in_and_out(browser: Any, gateway: Served) -> None:
    """The keyboard alone is enough; a wrong token is told; afterwards the page is shut again."""
    context = browser.new_context(base_url=gateway.url)
    page = context.new_page()
    page.goto("/devices")
    assert page.url.endswith("/login")
    page.keyboard.type("a wrong token of mine")
    page.keyboard.press("Enter")
    page.get_by_text("that is not the token of this gateway").wait_for()
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Round 2 is open").wait_for()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto("/versions")
    assert page.url.endswith("/login")
    context.close()


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
def test_pages_fit_and_keep_their_rules(browser: Any, gateway: Served, theme: str, width: int) -> None:
    """In both themes, on a screen and on a phone: nothing sticks out, and no policy is violated."""
    tab = Tab(browser, gateway, width=width, theme=theme)
    try:
        for path in ("/", "/devices", "/versions", "/devices/a/revoke", "/versions/0/rollback", "/devices?name=nobody"):
            tab.page.goto(path)
            assert tab.page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert tab.page.title() != "taken"
            assert (sum(tab.colour()) > 3 * 128) == (theme == "light")
        tab.page.goto("/")
        for summary in tab.page.get_by_text("As a table").all():
            summary.click()
        assert tab.page.get_by_role("table").count() >= 4
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        shown = tab.page.locator("svg.chart:visible").all()
        assert len(shown) == 3
        assert all("narrow" in (one.get_attribute("class") or "") for one in shown) == (width == 390)
    finally:
        tab.close()


def test_the_theme_can_be_switched_and_stays(browser: Any, gateway: Served) -> None:
    """Whatever the system says, and over a reload."""
    tab = Tab(browser, gateway, theme="light")
    try:
        tab.page.get_by_role("button", name="Dark theme").click()
        assert sum(tab.colour()) < 3 * 128
        tab.page.reload()
        assert sum(tab.colour()) < 3 * 128
        tab.page.get_by_role("button", name="Light theme").click()
        assert sum(tab.colour()) > 3 * 128
    finally:
        tab.close()


def contrast(one: list[float], other: list[float]) -> float:
    """Return the contrast of two colours (WCAG 2.2, "contrast ratio"). Args: red, green and blue, 0 to 255."""

    def luminance(colour: list[float]) -> float:
        parts = [part / 255 for part in colour]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


TEXTS_ON_GROUNDS = """() => {
  const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const ground = one => {
    for (; one; one = one.parentElement) {
      const colour = numbers(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const written = one => [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
  return [...document.querySelectorAll("main *, header *, footer *")]
    .filter(one => written(one) && one.getClientRects().length && !one.closest("svg"))
    .map(one => [one.textContent.trim(), numbers(getComputedStyle(one).color).slice(0, 3), ground(one)]);
}"""
"""Each text with its colour and that of the nearest ground behind it."""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read(browser: Any, gateway: Served, theme: str) -> None:
    """Every text has a contrast of 4.5 to what is behind it (WCAG 2.2, AA)."""
    assert contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21.0)
    tab = Tab(browser, gateway, theme=theme)
    try:
        for path in ("/", "/devices", "/versions", "/devices/a/revoke"):
            tab.page.goto(path)
            texts = tab.page.evaluate(TEXTS_ON_GROUNDS)
            assert len(texts) > 5
            assert [
                (text, round(contrast(ink, ground), 2)) for text, ink, ground in texts if contrast(ink, ground) < 4.5
            ] == []
    finally:
        tab.close()


def test_a_part_that_is_replaced_keeps_what_a_person_did(browser: Any, gateway: Served) -> None:
    """The table that was opened is open, the keyboard is where it was, and the time below moves on."""
    tab = Tab(browser, gateway)
    try:
        page = tab.page
        before = page.locator("#as-of").inner_text()
        page.get_by_text("As a table").nth(1).focus()
        page.keyboard.press("Enter")
        page.evaluate("document.querySelector('.tiles').id = 'old'")
        page.locator("#old").wait_for(state="detached")
        assert page.locator("details[open]").get_attribute("id") == "coverage-table"
        assert page.evaluate("document.activeElement.parentElement.id") == "coverage-table"
        assert page.locator("#as-of").inner_text() > before
    finally:
        tab.close()


def test_without_scripts_the_page_works_by_reloading(browser: Any, gateway: Served) -> None:
    """All is there; there is no switch for the theme, and a link to reload."""
    tab = Tab(browser, gateway, scripts=False)
    try:
        assert tab.page.get_by_text("1 of 3 answered").count() == 1
        assert not tab.page.get_by_role("button", name="theme").is_visible()
        tab.page.get_by_role("link", name="Reload").click()
        assert tab.page.get_by_text("1 of 3 answered").count() == 1
    finally:
        tab.close()


def test_a_running_round_is_followed_and_a_device_is_revoked(browser: Any, gateway: Served) -> None:
    """What happens shows without a reload, an opened table stays open; a revoked device is out at once."""
    tab = Tab(browser, gateway)
    try:
        page = tab.page
        page.get_by_text("As a table").first.click()
        assert page.get_by_text("1 of 3 answered").count() == 1
        before = page.locator(".deadline").inner_text()
        page.wait_for_function("before => document.querySelector('.deadline').innerText !== before", arg=before)
        page.goto("/devices")
        page.get_by_role("link", name="Revoke c").click()
        page.get_by_role("link", name="Cancel").click()
        assert gateway.ledger.revoked_devices() == []
        page.get_by_role("link", name="Revoke c").click()
        page.get_by_role("button", name="Revoke").click()
        page.get_by_text("c is revoked.").wait_for()
        assert gateway.ledger.revoked_devices() == ["c"]
        other = tab.context.new_page()
        other.goto("/")
        other.get_by_text("As a table").first.click()
        other.get_by_text("1 left").wait_for()
        gateway.join("d", slots=4)  # may join; the round still lacks b
        gateway.devices[1].leave()
        other.get_by_text("2 left").wait_for()
        assert other.locator("details[open]").count() == 1
        page.get_by_role("link", name="Take back").click()
        page.get_by_role("button", name="Take back").click()
        page.get_by_text("c is taken back.").wait_for()
        assert gateway.ledger.revoked_devices() == []
    finally:
        tab.close()
