"""A configuration file that explains itself: every key of GatewayConfig with what it is and its default.

Written from the dataclasses and their docstrings, so that a new key is in the file of the next ``broker_server init``.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from broker_server.config import GatewayConfig

_WIDTH: Final = 118
_ARGUMENT: Final = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n        .*)*)", re.MULTILINE)


def config_text(values: Mapping[str, Any], head: str) -> str:
    """Return a TOML file.

    Args:
        values: by dotted key ("listen.host"), what is set; all else stands there as a comment, with its default.
        head: text at the beginning.
    """
    parts = [_comment(head), "", *_keys(GatewayConfig, "", values)]
    for field in dataclasses.fields(GatewayConfig):
        kind = field.default_factory
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            parts += ["", f"[{field.name}]", *_keys(kind, f"{field.name}.", values)]
    return "\n".join(parts) + "\n"


def _keys(kind: type[Any], prefix: str, values: Mapping[str, Any]) -> list[str]:
    about = _about(kind)
    lines: list[str] = []
    for field in dataclasses.fields(kind):
        if field.default_factory is not dataclasses.MISSING:
            continue  # a table
        lines.append(_comment(f"{field.name}: {about[field.name]}"))
        key = prefix + field.name
        default = None if field.default is dataclasses.MISSING else field.default
        lines.append(
            f"{field.name} = {_value(values[key])}" if key in values else f"# {field.name} = {_value(default)}"
        )
    return lines


def _about(kind: type[Any]) -> dict[str, str]:
    """Return what the docstring of a dataclass, and those that it extends, say of each field."""
    texts: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        arguments = inspect.cleandoc(one.__doc__ or "").partition("Args:\n")[2]
        texts |= {match[1]: " ".join(match[2].split()) for match in _ARGUMENT.finditer(arguments)}
    return texts


def _comment(text: str) -> str:
    return textwrap.fill(
        text.replace("``", ""), _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False
    )


def _value(value: Any) -> str:  # noqa: ANN401 - what a field can hold
    if value is None:
        return '""'
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
