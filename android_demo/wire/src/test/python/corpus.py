"""Prints what Python decides of every input of the fuzzers' corpus whose rule Kotlin has, too: a JSON list of cases."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_runtime.wire.vectors.case import Case
from edge_runtime.wire.vectors.decide import MESSAGES, decide

sys.path.append(str(Path(__file__).parents[5]))
from tests.fuzz import corpus


def kept(kind: str) -> Iterator[corpus.Input]:
    """Yield the committed inputs of a kind, and with FUZZ_STATE=runs/fuzz all that `make fuzz` found there."""
    yield from corpus.read(kind)
    if folder := os.environ.get("FUZZ_STATE"):
        yield from (corpus.Input(path.read_bytes()) for path in sorted((Path(folder) / "corpus" / kind).iterdir()))


def inputs() -> Iterator[tuple[str, str, bytes, dict[str, Any]]]:
    """Yield kind, name, bytes and context; the first byte of a URL's input says whether plain MQTT is allowed."""
    for kind in (*MESSAGES, "Topic", "Manifest", "Enrolment"):
        for one in kept(kind):
            yield kind, one.name, one.data, {}
    for one in kept("BrokerUrl"):
        yield "BrokerUrl", one.name, one.data[1:], {"allow_plaintext": bool(one.data[:1] and one.data[0] & 1)}


def main() -> None:
    """Decide all, but a text that is no UTF-8: a topic and a URL are texts, which each language decodes by itself."""
    listed = []
    for kind, name, data, context in inputs():
        try:
            expect, meaning = decide(Case(kind, name, data, "", "", context))
        except UnicodeDecodeError:
            continue
        listed.append(
            {"kind": kind, "name": name, "hex": data.hex(), "context": context, "expect": expect, "meaning": meaning}
        )
    json.dump(listed, sys.stdout)


if __name__ == "__main__":
    main()
