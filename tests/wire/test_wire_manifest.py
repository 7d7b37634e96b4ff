"""manifest.json beyond the shared vectors: round trips, and files that were damaged, swapped or never ours."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.wire.errors import PackageError
from edge_runtime.wire.manifest import Manifest, Package
from edge_runtime.wire.strict_json import JSON_LIMIT, parse, typed
from edge_runtime.wire.vectors.manifests import cases

GOOD = next(case.data for case in cases() if case.name == "accept_small")
CONTENT = {
    "program.pte": b"program",
    "tokenizer.json": b"{}",
    "bank.safetensors": b"bank",
    "gateway/model.onnx": b"onnx",
}


def refused(data: bytes) -> str:
    """Return the text with which ``data`` is refused: one line, not too long."""
    with pytest.raises(PackageError) as caught:
        Manifest.from_json(data)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) < 600
    return text


def read_or_refused(data: bytes) -> bool:
    """Return whether ``data`` is refused in one line, or read, written, and read again as the same."""
    try:
        manifest = Manifest.from_json(data)
    except PackageError as error:
        return str(error).isprintable()
    return Manifest.from_json(manifest.to_json()) == manifest and len(manifest.architecture.digest()) == 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a package whose files are as its manifest says."""
    folder = tmp_path / "package"
    tree = json.loads(GOOD)
    for name, content in CONTENT.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        tree["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    tree["architecture"]["tokenizer_digest"] = tree["files"]["tokenizer.json"]["sha256"]
    (folder / "manifest.json").write_text(json.dumps(tree))
    return folder


def test_a_manifest_reads_as_it_was_written() -> None:
    """to_json and from_json are inverse, and the federation digest survives."""
    manifest = Manifest.from_json(GOOD)
    again = Manifest.from_json(manifest.to_json())
    assert again == manifest
    assert again.architecture.digest() == manifest.architecture.digest()
    assert manifest.tiers[0].held_slots == 2
    assert manifest.methods["train_m1_f1_s8_r2_b3"].inputs[-6].nbytes == 2 * 8 * 8
    assert manifest.architecture.bank_shape.expert_size == 2 * 3 * 3 + 2


def test_refusals_say_where_and_what() -> None:
    """The place in the tree, what stands there and what was expected."""
    tree = json.loads(GOOD)
    tree["tiers"][0]["seq_len"] = "8"
    assert refused(json.dumps(tree).encode()) == 'manifest.json.tiers[0].seq_len is "8", expected int'
    tree["package_format"] = 7
    assert "package format 7, this software reads 5; export the package again" in refused(json.dumps(tree).encode())
    assert "missing keys" in refused(b'{"package_format": 5}')


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from([2**70, -1, "", []])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


def _paths(tree: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    paths = [path]
    items: Any = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        paths += _paths(value, (*path, key))
    return paths


PATHS = _paths(json.loads(GOOD))[1:]


@given(st.sampled_from(PATHS), JSON)
def test_any_value_anywhere_is_read_or_refused(path: tuple[str | int, ...], value: Any) -> None:
    """Nothing but PackageError, whatever stands where; what is read can be written and read again."""
    tree = json.loads(GOOD)
    node = tree
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    assert read_or_refused(json.dumps(tree).encode())


@given(st.binary(max_size=100), st.integers(0, len(GOOD)), st.integers(0, len(GOOD)))
def test_any_bytes_anywhere_are_read_or_refused(piece: bytes, start: int, stop: int) -> None:
    """The same for bytes put into the text."""
    assert read_or_refused(GOOD[:start] + piece + GOOD[stop:])


def test_large_and_hostile_texts_are_refused_quickly() -> None:
    """Over the limit; 400,000 equal keys; a shape whose product has millions of digits; keys with line ends."""
    refused(b" " * (JSON_LIMIT + 1))
    refused(b"{" + b",".join(b'"k%d":1' % (i % 399_999) for i in range(400_000)) + b"}")
    tree = json.loads(GOOD)
    tree["methods"]["predict_s8_r1_b1"]["inputs"] = [{"name": "x", "dtype": "int64", "shape": [2**62] * 100_000}]
    assert "shape" in refused(json.dumps(tree).encode())
    tree["methods"]["a\nb" * 100] = 5
    refused(json.dumps(tree).encode())


def test_types_are_strict() -> None:
    """A tuple wants a list, a float takes an integer, a boolean is neither."""
    assert typed([1, 2], tuple[int, ...], "x") == (1, 2)
    assert typed(3, float, "x") == 3.0
    assert typed({"a": True}, dict[str, Any], "x") == {"a": True}
    for value, kind in (
        (True, int),
        (True, float),
        ("1", float),
        (1.0, int),
        ("ab", tuple[str, ...]),
        ([], dict[str, int]),
    ):
        with pytest.raises(PackageError):
            typed(value, kind, "x")
    assert parse(b'{"a": [1, -9223372036854775808, 1.5]}', "x") == {"a": [1, -(2**63), 1.5]}


def test_a_whole_package_opens(folder: Path) -> None:
    """Every part, with the digest of manifest.json; only listed files have paths."""
    package = Package.open(folder)
    assert package.digest == hashlib.sha256((folder / "manifest.json").read_bytes()).digest()
    assert package.path("program.pte").read_bytes() == b"program"
    assert Package.open(folder, part="gateway").digest == package.digest
    with pytest.raises(PackageError, match=r"has no other\.bin"):
        package.path("other.bin")


def test_each_part_needs_its_own_files_only(folder: Path) -> None:
    """A device has no gateway part; a gateway no program; a manifest alone can be read."""
    (folder / "gateway" / "model.onnx").unlink()
    Package.open(folder)
    with pytest.raises(PackageError, match="cannot be read"):
        Package.open(folder, part="gateway")
    (folder / "program.pte").unlink()
    with pytest.raises(PackageError, match=r"program\.pte cannot be read .*export the package again"):
        Package.open(folder)
    Package.open(folder, part="manifest")


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"progra", "has 6 bytes, the manifest says 7"), (b"Program", "was changed"), (b"", "has 0 bytes")],
)
def test_a_damaged_file_is_found(folder: Path, content: bytes, text: str) -> None:
    """Truncated, tampered, empty."""
    (folder / "program.pte").write_bytes(content)
    with pytest.raises(PackageError, match=text):
        Package.open(folder)


def test_a_link_out_of_the_package_is_refused(folder: Path, tmp_path: Path) -> None:
    """Though the bytes are right: the file outside can change without the package."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"program")
    (folder / "program.pte").unlink()
    (folder / "program.pte").symlink_to(outside)
    with pytest.raises(PackageError, match="no file inside the package"):
        Package.open(folder)


def test_a_link_inside_the_package_and_to_it_is_fine(folder: Path, tmp_path: Path) -> None:
    """Links that stay inside, and a link to the whole folder."""
    (folder / "program.pte").rename(folder / "program-1.pte")
    (folder / "program.pte").symlink_to("program-1.pte")
    (tmp_path / "current").symlink_to(folder)
    Package.open(tmp_path / "current")


def test_things_that_are_no_files_are_refused(folder: Path) -> None:
    """A pipe would be read for ever, a folder not at all, a loop of links neither."""
    path = folder / "program.pte"
    path.unlink()
    path.mkdir()
    with pytest.raises(PackageError, match="no file inside"):
        Package.open(folder)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(PackageError, match="no file inside"):
        Package.open(folder)
    path.unlink()
    path.symlink_to("program.pte")
    with pytest.raises(PackageError, match="cannot be read"):
        Package.open(folder)


def test_a_folder_without_a_manifest_is_no_package(tmp_path: Path) -> None:
    """The text says what to do."""
    with pytest.raises(PackageError, match=r"is no device package: .*make one with export\.build"):
        Package.open(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b" " * (JSON_LIMIT + 10))
    with pytest.raises(PackageError, match="has over"):
        Package.open(tmp_path)
