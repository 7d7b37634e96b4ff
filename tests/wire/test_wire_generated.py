"""The generated code is what the schema says, and no newer than the library that runs it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edge_runtime.wire import errors
from edge_runtime.wire import wire_pb2 as pb

WIRE = Path(errors.__file__).parent
ROOT = WIRE.parent.parent


def test_generated_code_is_current(tmp_path: Path) -> None:
    """`make proto` changes nothing."""
    pytest.importorskip("grpc_tools")
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    subprocess.run([*command, "wire.proto"], cwd=WIRE, check=True)
    for name in ("wire_pb2.py", "wire_pb2.pyi"):
        assert (tmp_path / name).read_text() == (WIRE / name).read_text(), f"{name} is stale: run make proto"


def test_generated_code_is_no_newer_than_the_pinned_protobuf() -> None:
    """The library refuses code of a later version, so the pin must not be older."""
    text = (WIRE / "wire_pb2.py").read_text()
    match = re.search(r"Protobuf Python Version: (\d+)\.(\d+)\.(\d+)", text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = next(item for item in project["dependencies"] if item.startswith("protobuf=="))
    assert match is not None
    generated, installed = (tuple(map(int, v)) for v in (match.groups(), pinned.removeprefix("protobuf==").split(".")))
    assert generated <= installed
    assert generated[0] == installed[0]


def test_every_message_starts_with_the_wire_version() -> None:
    """Field 1 is the same in all that is sent, and numbers and names of codes are fixed."""
    for message in pb.DESCRIPTOR.message_types_by_name.values():
        if "wire_version" in message.fields_by_name:
            assert message.fields_by_name["wire_version"].number == 1
    names = [pb.Code.Name(number) for number in range(20)]
    assert names[:4] == ["CODE_UNSPECIFIED", "ACCEPTED", "MALFORMED", "UNSUPPORTED_WIRE"]
    assert names[-1] == "UNSUPPORTED_CODEC"


def test_importing_the_contract_loads_nothing_heavy() -> None:
    """A device with 100 MB for everything can read messages: no torch, no onnxruntime, no MQTT client."""
    code = (
        "import pkgutil, sys, edge_runtime.wire as w, importlib\n"
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(w.__path__, 'edge_runtime.wire.')]\n"
        "heavy = {'torch', 'executorch', 'onnxruntime', 'paho', 'tokenizers', 'transformers', 'rich'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_code_names_are_total() -> None:
    """A code of tomorrow's schema is shown as a number, not an exception."""
    assert errors.code_name(pb.BUSY) == "BUSY"
    assert errors.code_name(1234) == "CODE_1234"
    assert str(errors.WireError(1234, "x")) == "CODE_1234: x"
