"""Templates to HTML. The driver of Jinja2: everything that is put into a template or a chart is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup as Html

from broker_server.views import wording

HOURS_S: Final = 2 * 3600
TEMPLATES: Final = Path(__file__).parent / "templates"

__all__ = ["Html", "Templates", "markup"]


def markup(text: str, *values: object) -> Html:
    """Return HTML in which each {} is a value, escaped unless it is Html."""
    return Html(text).format(*values)  # noqa: S704 - the text is ours, and format escapes the values


class Templates:
    """The page's templates. Args: shared: what each of them can name."""

    def __init__(self, **shared: object) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, auto_reload=False,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        self._environment.globals |= shared
        self._environment.filters |= {
            "size": wording.size, "duration": wording.duration, "instant": wording.instant, "number": number,
            "clock": clock,
        }  # fmt: skip

    def render(self, name: str, **values: Any) -> str:  # noqa: ANN401 - what a template shows
        """Return a template filled in. Args: name: of its file, without ".html"."""
        return self._environment.get_template(f"{name}.html").render(**values)


def number(count: float) -> str:
    """Return a whole number with thin spaces between thousands, as in all languages."""
    return f"{count:,.0f}".replace(",", "\u202f")


def clock(seconds: float) -> str:
    """Return a countdown: "4:05" of minutes and seconds, "27 h" of many; "0:00" when it is over."""
    whole = max(0, round(seconds))
    if whole >= HOURS_S:
        return wording.duration(whole)
    return f"{whole // 60}:{whole % 60:02d}"
