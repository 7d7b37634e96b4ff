"""JSON that a person can read and a diff can show: what fits stands in one line, what repeats is said once."""

from __future__ import annotations

import json
import re
from typing import Any, Final

Tree = Any

_COLUMNS: Final = 120
_LEAST_REPEATED: Final = 256  # characters before repetition is easier to read than the value


def expand(tree: Tree) -> Tree:
    """Return ``tree`` with each ``{"repeat": VALUE, "times": N}`` as VALUE, a text or a list, N times."""
    if isinstance(tree, dict):
        whole = {key: expand(value) for key, value in tree.items()}
        return whole["repeat"] * whole["times"] if whole.keys() == {"repeat", "times"} else whole
    return [expand(item) for item in tree] if isinstance(tree, list) else tree


def shorten(tree: Tree) -> Tree:
    """Return ``tree`` with texts and lists that are one part again and again as a repetition."""
    if isinstance(tree, dict):
        return {key: shorten(value) for key, value in tree.items()}
    if not isinstance(tree, (str, list)) or len(_line(tree)) < _LEAST_REPEATED:
        return tree
    if isinstance(tree, str):
        period = (tree + tree).find(tree, 1)
        return {"repeat": tree[:period], "times": len(tree) // period} if period < len(tree) else tree
    if len(tree) > 1 and all(item == tree[0] for item in tree):
        return {"repeat": shorten(tree[:1]), "times": len(tree)}
    return [shorten(item) for item in tree]


def text_of(tree: Tree) -> str:
    """Return ``tree`` as the text of a file."""
    return _text(tree, 0) + "\n"


def _text(tree: Tree, indent: int) -> str:
    line = _line(tree)
    if indent + len(line) <= _COLUMNS or not _is_divisible(tree):
        return line
    if isinstance(tree, dict):
        items = [f"{_line(key)}: {_text(value, indent + 1)}" for key, value in tree.items()]
    else:
        items = [_text(item, indent + 1) for item in tree]
    opening, closing = "{}" if isinstance(tree, dict) else "[]"
    space = "\n" + " " * (indent + 1)
    return f"{opening}{space}{f',{space}'.join(items)}\n{' ' * indent}{closing}"


def _is_divisible(tree: Tree) -> bool:
    """Return whether lines of their own make the members easier to read: not for one value, nor for many numbers."""
    if not isinstance(tree, (dict, list)):
        return False
    members = list(tree.values()) if isinstance(tree, dict) else tree
    if len(members) == 1:
        return _is_divisible(members[0])
    return isinstance(tree, dict) or not all(isinstance(item, (int, float)) for item in members)


def _line(tree: Tree) -> str:
    text = json.dumps(tree, ensure_ascii=False, allow_nan=False)
    # A mark that nobody sees, or that turns text around, is written as its escape.
    return re.sub(r"[^ -~]", lambda match: match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1], text)
