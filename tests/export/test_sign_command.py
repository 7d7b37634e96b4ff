"""`python -m export.sign`: keys are made once, packages are signed whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import toy

from edge_runtime.wire.errors import PackageError
from edge_runtime.wire.manifest import SIGNATURE, Package
from export.sign import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a package."""
    return toy.write_package(tmp_path / "package").folder


def test_a_signed_package_opens_with_the_key_that_is_printed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key is made once; signing again gives the same bytes."""
    key = str(tmp_path / "maker.pem")
    assert main([str(folder), "--key", key, "--new-key", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["packages"] == [str(folder)]
    Package.open(folder, maker=bytes.fromhex(told["package_key"]))
    signature = (folder / SIGNATURE).read_bytes()
    assert main([str(folder), "--key", key]) == 0
    assert told["package_key"] in capsys.readouterr().out
    assert (folder / SIGNATURE).read_bytes() == signature


def test_keys_that_cannot_be_used_are_bad_usage(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """None there; one there that would be replaced."""
    key = tmp_path / "maker.pem"
    assert main([str(folder), "--key", str(key)]) == 2
    assert "cannot read the signing key" in capsys.readouterr().err
    key.write_text("mine")
    assert main([str(folder), "--key", str(key), "--new-key"]) == 2
    assert key.read_text() == "mine"


def test_a_damaged_package_is_not_signed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A signature says that the maker stands for it."""
    (folder / "program.pte").write_bytes(b"other")
    assert main([str(folder), "--key", str(tmp_path / "maker.pem"), "--new-key"]) == 1
    assert "program.pte" in capsys.readouterr().err
    with pytest.raises(PackageError, match="is not signed"):
        Package.open(folder, part="manifest", maker=bytes(32))
