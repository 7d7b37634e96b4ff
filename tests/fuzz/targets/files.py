"""Files that people and devices keep: texts, JSON lists, a device's sealed records; and what a tokenizer gets."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterable, Iterator
from functools import cache, partial
from itertools import islice
from typing import Any, Final

import numpy as np
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from edge_runtime.errors import DamagedError
from edge_runtime.store import Record, Store, pack
from edge_runtime.wire.csv_header import Columns
from edge_runtime.wire.data_files import Layout, Row, layout_of, rows, rows_from
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import DataError
from edge_runtime.wire.json_list import distinct, items
from edge_runtime.wire.text_lines import encoding_of
from edge_runtime.wire.typed_text import take_special_tokens_as_text
from tests.fuzz.json_mutator import mutator
from tests.fuzz.scratch import scratch
from tests.fuzz.target import Target, decided, need

ENDINGS: Final = (".csv", ".jsonl", ".txt", ".tsv", ".json")
_CHOSEN: Final = (Columns(), Columns("utterance", "intent"), Columns("text", "label", ("device",)), Columns("b", "a"))
_LABELLED: Final = 8  # bit of the first byte; the two above it choose the columns, the rest the ending


def _data_file(data: bytes) -> str:
    first = data[0] if data else 0
    columns = _CHOSEN[first >> 4 & 3]
    name = f"texts{ENDINGS[(first & 7) % len(ENDINGS)]}"
    return decided(partial(_read_rows, data[1:], name, columns, labelled=bool(first & _LABELLED)), DataError)


def _read_rows(data: bytes, name: str, columns: Columns, *, labelled: bool) -> None:
    file = io.BytesIO(data)
    layout = layout_of(file, name, columns, labelled=labelled)
    everything = list(rows(file, layout))
    need(len(everything) <= len(data), "more rows than bytes")
    for row in everything:
        need(row.text.encode().decode() == row.text, "a text cannot be written")  # no halves of characters
        need(row.text == row.text.strip() and row.label == row.label.strip(), "a text is not stripped")
        need(len(row.more) == len(columns.more) if layout.kind != "lines" else not row.more, "other columns")
    for row in everything[:8]:
        _found_again(file, layout, row)


def _found_again(file: io.BytesIO, layout: Layout, row: Row) -> None:
    [again] = islice(rows_from(file, layout, row.place, row.line), 1)
    need((again.place, again.text, again.label) == (row.place, row.text, row.label), "another row stands at its place")


def _seeds_of_data_files() -> Iterator[bytes]:
    table = 'text,label,device\nwake me at 7,alarm,a\n"play ""jazz"", please",music,b\n\n"two\nlines",x,c\n'
    objects = [{"text": "wake me", "label": "alarm", "device": "a"}, {"text": "é\ud83d", "label": "1"}]
    listed = json.dumps(objects, indent=1)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        for flags in (0, _LABELLED, _LABELLED | 2 << 4):
            yield bytes([flags]) + table.encode(encoding)
            yield bytes([flags]) + table.replace(",", ";").encode(encoding)
            yield bytes([flags | 3]) + table.replace(",", "\t").encode(encoding)
            yield bytes([flags | 1]) + "\r\n".join(map(json.dumps, objects)).encode(encoding)
            yield bytes([flags | 4]) + listed.encode(encoding)
            yield bytes([flags | 2]) + table.encode(encoding)
    yield bytes([_LABELLED]) + b"sep=;\nlabel;text\na;b\n"
    yield bytes([_LABELLED | 1 << 4]) + b"id,utterance,intent\r1,a,b\r\n2,c,d\n"
    yield bytes([_LABELLED | 3 << 4]) + b"A,a,b\n1,2,3\n"


def _json_list(data: bytes) -> str:
    return decided(partial(_read_items, data), DataError)


def _read_items(data: bytes) -> None:
    file = io.BytesIO(data)
    encoding = encoding_of(file, "list.json")
    listed = list(items(file, encoding, "list.json", encoding.start))
    text = data[encoding.start :].decode(encoding.name)
    stock = json.loads(text, object_pairs_hook=distinct)
    need(_same([item.value for item in listed], stock), "the standard library reads another list")
    for item in listed[:8]:
        again = next(items(file, encoding, "list.json", item.place, inside=True))
        need(_same(again.value, item.value), "another item stands at its place")


def _same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)  # NaN included


def _seeds_of_lists() -> Iterator[bytes]:
    tree = [{"text": "a", "label": "é"}, {"text": 1.5e3, "n": [None, True, -0.0, {}]}, "x", 12, "\ud83d\ude00"]
    for text in (json.dumps(tree), json.dumps(tree, indent=2, ensure_ascii=False), "[]", " [ 1 , 2 ]\n", '[{"a":1'):
        yield text.encode("utf-8", "surrogatepass")
        yield text.encode("utf-16", "surrogatepass")


# --- a device's records -------------------------------------------------------------------------------------------


@cache
def _store() -> Store:
    return Store(scratch() / "store")


def _record(data: bytes) -> str:
    """Read a record; by its first byte the bytes are the file, or what is sealed, or the body's tensors."""
    store, whole = _store(), data[1:]
    if data[:1] and data[0] & 1:
        whole = b"edgest01" + sha256(whole) + whole
    (store.folder / "plan").write_bytes(whole)
    outcome = decided(partial(_read_record, store), DamagedError)
    recalled = store.recall("plan")
    need((recalled is not None) is (store.folder / "plan").exists(), "a damaged record is still there")
    return outcome


def _read_record(store: Store) -> None:
    record = store.read("plan")
    if record is None:
        raise DamagedError("it is not there")
    need(isinstance(record.head, dict), "a head that is no object")
    store.write("done", record)
    need(store.read("done") == record, "a record is another one once it was written and read")
    for name, tensor in record.tensors().items():
        need(isinstance(name, str) and isinstance(tensor, np.ndarray), "no tensor")


def _seeds_of_records() -> Iterator[bytes]:
    store = _store()
    body = pack({"trained": np.ones((2, 3), np.float32), "step": np.array([3], np.int64)})
    for record in (Record(), Record({"round": 3, "seed": "1"}, body), Record({"texts": [1, 2]}, b"body")):
        store.write("plan", record)
        data = (store.folder / "plan").read_bytes()
        yield b"\0" + data
        yield b"\1" + data[40:]
    for head in (b"[]", b"{", b"\xff", b'{"a":NaN}', b"[" * 3000):
        yield b"\1" + struct.pack("<I", len(head)) + head
    yield b"\1" + struct.pack("<I", 2**32 - 1)


# --- what a tokenizer gets ----------------------------------------------------------------------------------------

_SPECIAL: Final = ("<s>", "</s>", "[SEP]", "<|end|>")


@cache
def _tokenizers() -> tuple[Tokenizer, ...]:
    pieces = [*((token, 0.0) for token in (*_SPECIAL, "<unk>", "▁")), *((c, -9.0) for c in "<>/s[SEP]|endab")]
    unigram = Tokenizer(models.Unigram(list(dict(pieces).items()), 4))
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate((*_SPECIAL, "[UNK]", "a"))}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    for tokenizer in (unigram, words):
        tokenizer.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL])
    return unigram, words


def _typed_text(data: bytes) -> str:
    text = data.decode(errors="replace")
    for tokenizer in _tokenizers():
        typed = take_special_tokens_as_text(tokenizer)(text)
        ids = set(tokenizer.encode(typed, add_special_tokens=False).ids)
        special = {tokenizer.token_to_id(token) for token in _SPECIAL}
        need(not ids & special, f"a text holds the special tokens {sorted(ids & special)}")
        need(take_special_tokens_as_text(tokenizer)(typed) == typed, "a text changes once more")
    return "ACCEPT"


def _seeds_of_texts() -> Iterable[bytes]:
    return [b"a</s> a", b"<s><|end|>[SEP]", b"<</s>/s>", "größe <s>\u200b</s>".encode(), b"<s<s>>" * 20]


def targets() -> list[Target]:
    """Return the targets of this module."""
    return [
        Target("data_files", _data_file, _seeds_of_data_files, longest=2048),
        Target("json_list", _json_list, _seeds_of_lists, mutator(), 10_000),
        Target("store", _record, _seeds_of_records, longest=2048),
        Target("typed_text", _typed_text, _seeds_of_texts, longest=600),
    ]
