"""Mutates JSON as a tree, so that most of what is tried is JSON and meets the rules behind the parser."""

from __future__ import annotations

import json
from copy import deepcopy
from random import Random
from typing import Any, Final

from tests.fuzz.target import Mutator, Raw

_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2, 3, 4, 255, 65_535, 65_536, 2**31 - 1, 2**53 + 1, 2**63 - 1, -(2**63), 10**20),
    *(0.0, -0.0, 0.5, 1e-320, 1e22, 1e300, 20.0, 1.0),
    *(
        "",
        "a",
        "0" * 64,
        "f" * 64,
        "F" * 64,
        "é",
        "a\nb",
        "\u202e",
        "\x00",
        "x" * 201,
        "../a",
        "/a",
        "a/../b",
        "\ud800",
    ),
    *([], {}, [0], [[]], {"": 0}),
)
_TOKENS: Final = (
    b"NaN",
    b"Infinity",
    b"1e999",
    b"-0",
    b"1.0",
    b"1E5",
    b"01",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\\u0000",
    b'"\\ud83d"',
)
_CAN_NOT_BE_READ: Final = (ValueError, RecursionError)


def mutator(keep: int = 0) -> Mutator:
    """Return the mutator. Args: keep: bytes before the JSON, which say how it is read and change seldom."""

    def mutate(data: bytes, random: Random, raw: Raw, limit: int) -> bytes:
        if keep and random.random() < 0.95:
            return data[:keep] + text(data[keep:], random, raw, limit - keep)
        return raw(data, limit) if keep else text(data, random, raw, limit)

    def text(data: bytes, random: Random, raw: Raw, limit: int) -> bytes:
        try:
            tree = json.loads(data)
        except _CAN_NOT_BE_READ:
            return raw(data, limit)
        act = random.random()
        if act < 0.1:
            return raw(data, limit)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            tree = _changed(tree, random, raw)
        try:
            written = json.dumps(tree, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
        except _CAN_NOT_BE_READ:
            return raw(data, limit)
        if act > 0.9 and written:  # what a tree cannot hold: another token, a key twice
            place = random.randrange(len(written))
            written = written[:place] + random.choice(_TOKENS) + written[place:]
        elif act > 0.85:
            written = written.replace(b", ", b", " + written[1 : written.find(b",") + 1] + b" ", 1)
        return written if len(written) <= limit else raw(data, limit)

    return mutate


def _changed(tree: Any, random: Random, raw: Raw) -> Any:
    """Return ``tree`` with one place of it changed; most places are reached by going down a few times."""
    if isinstance(tree, (dict, list)) and tree and random.random() < 0.85:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        key = random.choice(keys)
        if random.random() < 0.75:
            tree[key] = _changed(tree[key], random, raw)
        elif isinstance(tree, dict):
            _change_object(tree, key, random)
        else:
            _change_list(tree, key, random)
        return tree
    if isinstance(tree, str) and random.random() < 0.5:
        return raw(tree.encode("utf-8", "surrogatepass"), 300).decode("utf-8", "replace")
    if isinstance(tree, (int, float)) and random.random() < 0.4:
        return tree + random.choice((-1, 1, 0.5))
    return deepcopy(random.choice(_VALUES))


def _change_object(tree: dict[str, Any], key: str, random: Random) -> None:
    act = random.randrange(3)
    if act == 0:
        del tree[key]
    elif act == 1:
        tree[key + random.choice(("", "_", "s"))] = deepcopy(random.choice(list(tree.values())))
    else:
        tree[random.choice(("x", "", *tree))] = deepcopy(random.choice(_VALUES))


def _change_list(tree: list[Any], place: int, random: Random) -> None:
    act = random.randrange(3)
    if act == 0:
        del tree[place]
    elif act == 1 and len(tree) < 64:
        tree.insert(random.randrange(len(tree) + 1), deepcopy(tree[place]))
    else:
        random.shuffle(tree)
