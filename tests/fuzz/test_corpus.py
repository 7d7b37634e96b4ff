"""The corpus is decided within the decoders' own errors and within memory; and what tells a finding can tell one."""

from __future__ import annotations

import json

import pytest

from edge_runtime.wire.errors import PackageError
from tests.fuzz import corpus
from tests.fuzz.corpus import CORPUS, Input, smallest
from tests.fuzz.memory import peak_of, within_memory
from tests.fuzz.target import Finding, Target, decided, need
from tests.fuzz.targets import TARGETS

_MEMORY_EVERY = 5


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_is_decided(name: str) -> None:
    """Nothing comes out but a decision: the decoder's own error, or what holds of what was read."""
    target, inputs = TARGETS[name], corpus.read(name)
    assert len(inputs) > 1
    for one in inputs:
        assert target.check(one.data), one.name
    for one in [*inputs[:: len(inputs) // _MEMORY_EVERY + 1], max(inputs, key=lambda one: len(one.data))]:
        within_memory(target, one.data)


def test_the_corpus_is_small_and_of_known_targets() -> None:
    """A clone stays small, and no file is left of a target that went."""
    assert {path.stem for path in CORPUS.iterdir()} == set(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.iterdir()) < 2_000_000


def test_another_exception_is_a_finding() -> None:
    """A decoder's documented error is a decision; any other one goes on to the fuzzer, as does a broken property."""

    def refuse() -> None:
        raise PackageError("no")

    assert decided(refuse, PackageError) == "REFUSED"
    with pytest.raises(json.JSONDecodeError):
        decided(lambda: json.loads("{"), PackageError)
    with pytest.raises(Finding, match="two"):
        need(condition=False, what="two")

    def two_lines() -> None:
        raise PackageError("a\nb")

    with pytest.raises(Finding, match="not one line"):
        decided(two_lines, PackageError)


def test_memory_out_of_proportion_is_a_finding() -> None:
    """A mebibyte for one byte is told, and refused where 1,000 bytes are allowed."""
    target = Target("hungry", lambda data: str(len(bytearray(len(data) << 20))), list, fixed=1000, factor=100)
    assert peak_of(target, b"a") >= 1 << 20
    with pytest.raises(MemoryError, match="hungry took"):
        within_memory(target, b"a")


def test_a_corpus_is_read_as_it_was_written(tmp_path: object) -> None:
    """Bytes that repeat, that are text, that are neither; findings come first."""
    from pathlib import Path

    folder = Path(str(tmp_path))
    inputs = [Input(b"a" * 500, "too long"), Input(b""), Input(b"\xff\x00"), Input(b"text")]
    corpus.write("x", inputs, folder)
    assert corpus.read("x", folder) == inputs
    assert corpus.read("y", folder) == []


def test_of_inputs_that_take_one_way_the_shortest_are_kept() -> None:
    """Of six topics that are refused for one reason four stay; each that is accepted takes another way."""
    refused = [b"x" * length for length in range(6)]
    kept = smallest(TARGETS["Topic"], [*refused, b"fl/v1/home/gateway", b"fl/v1/home/hello/a"])
    assert kept == [*refused[:4], b"fl/v1/home/gateway", b"fl/v1/home/hello/a"]
