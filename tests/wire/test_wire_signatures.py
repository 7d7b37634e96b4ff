"""Keys that sign, and packages that are signed; messages are in the shared vectors."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from edge_runtime.wire.errors import PackageError
from edge_runtime.wire.manifest import MANIFEST, SIGNATURE, Package
from edge_runtime.wire.signatures import SigningKey, SigningKeyError, verify_message
from edge_runtime.wire.vectors.manifests import cases

MANIFEST_BYTES = next(case.data for case in cases() if case.name == "accept_small")


@pytest.fixture
def key(tmp_path: Path) -> SigningKey:
    """Return a new key."""
    return SigningKey.create(tmp_path / "maker.pem")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a manifest, whose files are not looked at."""
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / MANIFEST).write_bytes(MANIFEST_BYTES)
    return folder


def test_a_key_reads_as_it_was_written_and_only_its_owner_can(tmp_path: Path, key: SigningKey) -> None:
    """Mode 0600; the same public key."""
    path = tmp_path / "maker.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = SigningKey.read(path)
    assert again.public == key.public
    assert verify_message(key.public, "a/b", again.sign_message("a/b", b"text", 7)) == 7


def test_a_key_of_openssl_is_read(tmp_path: Path) -> None:
    """Whoever keeps keys elsewhere makes them there."""
    path = tmp_path / "openssl.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True, capture_output=True)
    public = subprocess.run(
        ["openssl", "pkey", "-in", path, "-pubout", "-outform", "DER"], check=True, capture_output=True
    )
    assert SigningKey.read(path).public == public.stdout[-32:]


def test_a_key_is_never_replaced(tmp_path: Path, key: SigningKey) -> None:
    """Devices hold its public half."""
    with pytest.raises(SigningKeyError, match="is there already"):
        SigningKey.create(tmp_path / "maker.pem")
    assert SigningKey.read(tmp_path / "maker.pem").public == key.public


@pytest.mark.parametrize("text", ["", "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, text: str) -> None:
    """The text names the file."""
    (tmp_path / "k.pem").write_text(text)
    with pytest.raises(SigningKeyError, match=r"k\.pem is no unencrypted private key"):
        SigningKey.read(tmp_path / "k.pem")
    with pytest.raises(SigningKeyError, match="cannot read the signing key"):
        SigningKey.read(tmp_path / "none.pem")


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    """An ECDSA key, as TLS has."""
    path = tmp_path / "ec.pem"
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(SigningKeyError, match="another kind of key"):
        SigningKey.read(path)


def test_a_package_is_taken_from_its_maker_only(folder: Path, key: SigningKey, tmp_path: Path) -> None:
    """Unsigned, signed by somebody else, changed after signing, a signature of another length: each is refused."""
    with pytest.raises(PackageError, match=r"is not signed.*export\.sign"):
        Package.open(folder, part="manifest", maker=key.public)
    (folder / SIGNATURE).write_bytes(key.sign_manifest(MANIFEST_BYTES))
    Package.open(folder, part="manifest", maker=key.public)
    other = SigningKey.create(tmp_path / "other.pem")
    with pytest.raises(PackageError, match="not signed by"):
        Package.open(folder, part="manifest", maker=other.public)
    (folder / MANIFEST).write_bytes(MANIFEST_BYTES.replace(b'"pixel8"', b'"pixel9"') + b" ")
    with pytest.raises(PackageError, match="not signed by"):
        Package.open(folder, part="manifest", maker=key.public)
    (folder / SIGNATURE).write_bytes(key.sign_manifest(MANIFEST_BYTES) + b"\0")
    with pytest.raises(PackageError, match="has 65 bytes, expected 64"):
        Package.open(folder, part="manifest", maker=key.public)
    Package.open(folder, part="manifest")
