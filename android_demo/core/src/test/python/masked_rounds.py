"""Plays a round under masks: a real gateway, four devices of Python, and one that the reader of this output turns.

All is that of tests/integration/masked_federation.py, with a tokenizer that Kotlin reads. Lines of the output: "start
FOLDER KEY COUNTS SUMS CA CERTIFICATE PRIVATE" (package, gateway's key; class sums and certificate of the other device),
"up" (start it, if it does not run), "say TOPIC NAME PAYLOAD", "turn SECONDS", "kill" (end it without a word), "result
JSON". After "turn" and "kill" lines are read until "done": "send TOPIC PAYLOAD", "listen TOPIC", "request WANT BLOB
...", "release BLOB ...", "trained CIRCLE INTEGERS" while what was trained waits for its masks. Bytes are in hex, "-"
for none.
"""

from __future__ import annotations

import json
import queue
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

sys.path += [str(Path(__file__).parents[5] / "tests" / room) for room in ("edge", "broker", "wire", "integration")]

import toy
from fakes import FakeLink
from masked_federation import RULES, SECURE, Federation, plain_sum
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from broker_server.identity.certificates import new_authority, new_device, utc_now
from broker_server.rules.round import State
from edge_runtime.federation.link import LinkEvent, Up
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.messages import decode
from edge_runtime.wire.secure.terms import Terms
from edge_runtime.wire.topics import Topic

NAME = "phone"
OTHERS = ("d0", "d1", "d2", "d3")
COUNTS = np.array([1, 2, 3], np.float32)
SUMS = np.outer(COUNTS, np.linspace(-0.5, 0.5, toy.SHAPE.width)).astype(np.float32)


def say(*words: object) -> None:
    """Print a line."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def as_hex(data: bytes) -> str:
    """Return bytes as a word."""
    return data.hex() or "-"


def write_tokenizer(path: Path) -> None:
    """Write the toy's tokenizer as WordPiece; its words are whole ones."""
    vocabulary = {token: place for place, token in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *toy.WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token of text
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(path))


class Remote:
    """The device of the other process. Args: federation: that it takes part in."""

    def __init__(self, federation: Federation) -> None:
        self._federation, self._inbox = federation, queue.Queue[LinkEvent]()
        self.link = FakeLink(self._inbox, NAME)
        self.link.gateway = federation.broker  # type: ignore[assignment]
        self.waits = False
        federation.devices[NAME] = SimpleNamespace(device=self, link=self.link, store=self)  # type: ignore[assignment]
        self.link.start()

    def turn(self) -> None:
        """Tell it what came, let it work, and say what it says, until nothing more comes of it."""
        while True:
            while not self._inbox.empty():
                event: Any = self._inbox.get()
                if isinstance(event, Up):
                    say("up")
                else:
                    say("say", event.address.topic, event.address.name or "-", as_hex(event.payload))
            say("turn", self._federation.clock.now)
            self._hear()
            if self._inbox.empty():
                return

    def close(self) -> None:
        """End it, as a power cut would."""
        say("kill")
        self._hear()

    def _hear(self) -> None:
        self.waits = False
        for line in sys.stdin:
            what, *words = line.split()
            if what == "done":
                return
            if what == "send":
                self.link.send(Topic(words[0]), [bytes.fromhex(words[1])])
            elif what == "listen":
                self.link.listen(Topic(words[0]))
            elif what == "request":
                self.link.request(words[1:], bytes.fromhex(words[0]))
            elif what == "release":
                self.link.release(words)
            else:
                self.waits = True
                integers = np.frombuffer(bytes.fromhex(words[1]), "<i4").astype(np.int64)
                self._federation.trained.setdefault(NAME, {})[int(words[0])] = integers


def play(folder: Path) -> dict[str, Any]:
    """Play a round, in which one device of Python leaves after dealing and the other one is killed at every step."""
    toy.write_tokenizer = write_tokenizer
    rules = replace(RULES, deadline_s=15.0)
    authority = new_authority("edge-experts default", utc_now())
    folder.mkdir(exist_ok=True)
    federation = Federation(folder, authority, secure=replace(SECURE, class_sums="masked"), round=rules)
    own = new_device(authority, NAME, utc_now())
    federation.class_sums[NAME] = ClassSums(COUNTS, SUMS)
    certificates = [text.encode().hex() for text in (authority.certificate, own.certificate, own.key)]
    say(
        "start",
        folder / "package",
        as_hex(federation.key.public),
        COUNTS.tobytes().hex(),
        SUMS.tobytes().hex(),
        *certificates,
    )
    federation.start(*OTHERS)
    remote = Remote(federation)
    federation.run(lambda: federation.phase() == "shares" and remote.waits)
    federation.kill(NAME)
    remote = Remote(federation)
    federation.run(lambda: federation.phase() == "deltas")
    federation.kill(NAME, "d1")
    remote = Remote(federation)
    federation.run(lambda: federation.phase() == "answers")
    federation.kill(NAME)
    Remote(federation)
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    row = federation.store.ledger.masks(1)
    if row is None:
        raise AssertionError(federation.told[-9:])
    terms, left = Terms.of(pb.MaskTerms.FromString(row.terms)), {NAME, *OTHERS} - {"d1"}
    step = terms.classes.step if terms.classes is not None else 0.0
    opened = {one["circle"] for one in row.told["circles"] if one["opened"]}
    trained = [circle for circle in terms.circles if circle in opened and terms.of_classes(circle) is None]
    listed = [federation.class_sums[device] for device in sorted(left)]
    scaled = [[np.rint(values.astype(np.float64) / step) for values in (one.counts, one.sums)] for one in listed]
    counts, sums = (np.sum(parts, axis=0) * step for parts in zip(*scaled, strict=True))
    merged = federation.bank(1)
    offers = [
        decode(pb.Offer, data) for name, topic, data in federation.broker.said if (name, topic) == (NAME, Topic.OFFER)
    ]
    result = {
        "versions": [federation.bank(number).digest().hex() for number in (1, 2)],
        "plain": [
            plain_sum(federation.trained, federation.bank(0), terms, left, trained).digest().hex(),
            merged.replace(class_mean_head(ClassSums(counts, sums), toy.SCALE)).digest().hex(),
        ],
        "trained": len(trained),
        "survivors": [event["survivors"] for event in federation.events("masks")][-1],
        "offered": {pb.Kind.Name(kind): len({one.digest for one in offers if one.kind == kind})
                    for kind in sorted({one.kind for one in offers})},
        "accepted": sorted(pb.Kind.Name(one.kind) for name, one in federation.broker.verdicts
                           if name == NAME and one.code == pb.ACCEPTED and one.kind != pb.HELLO),
    }  # fmt: skip
    federation.kill_gateway()
    return result


say("result", json.dumps(play(Path(sys.argv[1]))))
