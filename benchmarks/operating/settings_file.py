"""Settings put into a gateway.toml as a person does it: the line of the key, without its #, with the new value."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any


def set_keys(text: str, changes: str) -> str:
    """Return a configuration file with the keys that a piece of TOML sets.

    Args:
        text: of a file that ``broker_server init`` wrote: every key stands in it, perhaps behind a #.
        changes: TOML, tables at most one deep.

    Raises:
        ValueError: when the file has no line for a key.
    """
    for key, value in tomllib.loads(changes).items():
        for name, one in value.items() if isinstance(value, dict) else [("", value)]:
            text = _set(text, key if name else "", name or key, one)
    return text


def _set(text: str, table: str, key: str, value: Any) -> str:  # noqa: ANN401 - what TOML holds
    parts = re.split(r"^(?=\[\w+\]$)", text, flags=re.MULTILINE)
    place = next(
        place for place, part in enumerate(parts) if part.startswith(f"[{table}]") or (not table and not place)
    )
    line = f"{key} = {json.dumps(value)}"
    parts[place], times = re.subn(rf"^(# )?{key} = .*$", lambda _: line, parts[place], count=1, flags=re.MULTILINE)
    if not times:
        msg = f"the file has no key {key} in [{table}]"
        raise ValueError(msg)
    return "".join(parts)
