"""A file that is nested 100,000 deep is refused by name wherever one is read; the corpus cannot hold one so large."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from broker_server import config_file
from broker_server.errors import StateError, UsageError
from broker_server.identity import key_files
from broker_server.state.files import unseal
from edge_runtime.interface.banks import check_version
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.errors import BankError, FederationError
from edge_runtime.wire.experts import BankShape

DEEP = "[" * 100_000
BANK = Bank.zeros(BankShape((0,), 1, 1, 0, 1, 0))


def test_a_device_refuses_what_stands_beside_a_bank(tmp_path: Path) -> None:
    """The file that tells of which version a bank is."""
    path = tmp_path / "version.json"
    path.write_text(DEEP)
    with pytest.raises(BankError, match=r"version\.json is not what broker_server export writes"):
        check_version(path, BANK, b"")


def test_a_gateway_refuses_its_own_files(tmp_path: Path) -> None:
    """Configuration and sealed files by name; of issued certificates a line that cannot be read is passed over."""
    path = tmp_path / "gateway.toml"
    path.write_text(f"rounds = {DEEP}")
    with pytest.raises(UsageError, match=r"gateway\.toml is not TOML"):
        config_file.load(path, {}, lambda state: state)
    with pytest.raises(StateError, match="it is no sealed JSON object"):
        unseal(DEEP.encode(), path)
    (tmp_path / key_files.ISSUED).write_text(f"{DEEP}\n")
    assert key_files.issued_to(tmp_path, "a") == []


def test_export_refuses_files_of_a_model(tmp_path: Path) -> None:
    """config.json, weights, their index, tokenizer, sentence-transformers' list; a profile; a damaged cache entry."""
    pytest.importorskip("torch")
    from export import cache
    from export.planning.profiles import load_profile
    from export.source import backbone, checkpoint, sentence_model, tokenizer_file

    readers: dict[str, Callable[[Path], object]] = {
        "config.json": lambda path: backbone._read_config(path.parent),
        checkpoint.INDEX: lambda path: checkpoint._shards(path.parent),
        "tokenizer.json": lambda path: tokenizer_file.read_tokenizer(path.parent),
        "modules.json": lambda path: sentence_model._json(path, []),
    }
    for name, read in readers.items():
        (tmp_path / name).write_text(DEEP)
        with pytest.raises(FederationError, match=name.replace(".", r"\.")):
            read(tmp_path / name)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(struct.pack("<Q", len(DEEP)) + DEEP.encode())
    with pytest.raises(FederationError, match="is no readable safetensors file"):
        checkpoint._read_header(weights)
    (tmp_path / "phone.toml").write_text(f"name = {DEEP}")
    with pytest.raises(FederationError, match="cannot be read"):
        load_profile(str(tmp_path / "phone.toml"))
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / cache.RECORD).write_text(DEEP)
    assert cache.lookup(tmp_path, "key") is None
