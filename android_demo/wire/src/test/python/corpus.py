"""Prints what Python decides of the fuzzers' corpus, and of mutants of it, where Kotlin has the rule, too: a JSON list.

FUZZ_MUTANTS=1000 makes so many mutants of each kind, FUZZ_SEED=7 makes others, FUZZ_STATE=runs/fuzz adds what
`make fuzz` found.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from edge_runtime.wire.strict_json import plain_tree
from edge_runtime.wire.vectors.case import Case
from edge_runtime.wire.vectors.decide import MESSAGES, decide

sys.path.append(str(Path(__file__).parents[5]))
from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS, documents, messages

OF_SITES = {"PartialSum", "PartialStatistics"}
"""Messages that only gateways read."""


def raw(data: bytes, limit: int, random: Random) -> bytes:
    """Change bytes that stand side by side: others, none, the same twice, or those of elsewhere."""
    at, size = random.randrange(len(data) + 1), random.choice((0, 1, 1, 1, 2, 4, 8))
    elsewhere = random.randrange(len(data) + 1)
    new = random.choice((random.randbytes(size), b"", data[at : at + size] * 2, data[elsewhere : elsewhere + size]))
    return (data[:at] + new + data[at + size :])[:limit]


def inputs_of(kind: str) -> Iterator[bytes]:
    """Yield the inputs of a kind, and mutants of them."""
    kept = [one.data for one in corpus.read(kind)]
    if folder := os.environ.get("FUZZ_STATE"):
        kept += [path.read_bytes() for path in sorted((Path(folder) / "corpus" / kind).iterdir())]
    yield from kept
    random, target = Random(f"{os.environ.get('FUZZ_SEED', '1')} {kind}"), TARGETS[kind]  # noqa: S311
    by_chance = partial(raw, random=random)
    seeds = [data for data in (*kept, *target.seeds()) if len(data) <= target.longest]
    for _ in range(int(os.environ.get("FUZZ_MUTANTS", "100"))):
        data = random.choice(seeds)
        if target.mutate is None:
            yield by_chance(data, target.longest)
        else:
            yield target.mutate(data, random, by_chance, target.longest)


def inputs() -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Yield kind, bytes and context; what an input says in its first bytes (tests/fuzz/targets) is the context."""
    for kind in (*(kind for kind in MESSAGES if kind not in OF_SITES), "Topic", "Manifest", "Enrolment", "strict_json"):
        for data in inputs_of(kind):
            yield kind, data, {}
    for data in inputs_of("BrokerUrl"):
        yield "BrokerUrl", data[1:], {"allow_plaintext": bool(data[:1] and data[0] & 1)}
    for data in inputs_of("Values"):
        if len(data) >= 3:
            codec, count = messages.values_of(data)
            yield "Values", data[3:], {"codec": codec, "count": count}
    for data in inputs_of("SignedMessage"):
        if len(data) >= 11:
            yield (
                "SignedMessage",
                messages.signed_of(data),
                {"key": messages.key().public.hex(), "topic": messages.TOPIC},
            )
    for data in inputs_of("Chunks"):
        yield "Chunks", b"".join(struct.pack("<I", len(one)) + one for _, one in messages.payloads_of(data)), {}
    for data in inputs_of("Bank"):
        sizes = plain_tree(documents.SHAPE)
        yield "Bank", documents.file_of(data), sizes | {"federation_digest": documents.FEDERATION.hex()}


def decision(kind: str, data: bytes, context: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """Return what Python decides; of JSON in general only whether it is strict."""
    if kind == "strict_json":
        return TARGETS[kind].check(data), None
    return decide(Case(kind, "", data, "", "", context))


def main() -> None:
    """Decide all, but a text that is no UTF-8: a topic and a URL are texts, which each language decodes by itself."""
    listed = []
    for kind, data, context in inputs():
        try:
            expect, meaning = decision(kind, data, context)
        except UnicodeDecodeError:
            continue
        name = corpus.Input(data).name
        listed.append(
            {"kind": kind, "name": name, "hex": data.hex(), "context": context, "expect": expect, "meaning": meaning}
        )
    json.dump(listed, sys.stdout)


if __name__ == "__main__":
    main()
