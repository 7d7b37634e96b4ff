"""An enrolment file is all that a device needs: its name, the broker, certificate and keys; lies in it are refused."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
import toy

from edge_runtime.__main__ import main
from edge_runtime.errors import ConfigError, StoreError
from edge_runtime.federation.enrolled import broker_of, check_package, read_enrolment
from edge_runtime.wire.enrolment import ENROLMENT_FORMAT, Enrolment, EnrolmentError, GatewayAddress
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.signatures import SigningKey

PEM = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """Return a device's package."""
    return toy.write_package(tmp_path / "package")


@pytest.fixture
def enrolment(package: Package) -> Enrolment:
    """Return an enrolment over TLS for that package."""
    return Enrolment(
        ENROLMENT_FORMAT,
        "kitchen",
        "home",
        package.manifest.architecture.digest().hex(),
        package.digest.hex(),
        GatewayAddress("gateway.example", 8883, tls=True),
        ca=PEM,
        certificate=PEM,
        key=KEY,
    )


def test_keys_become_files_that_only_their_owner_reads(enrolment: Enrolment, tmp_path: Path) -> None:
    """OpenSSL takes files; a newer enrolment replaces them, one without keys leaves none behind."""
    broker = broker_of(enrolment, tmp_path)
    assert (str(broker), broker.ca, broker.key) == (
        "mqtts://gateway.example:8883", tmp_path / "tls/ca.pem", tmp_path / "tls/key.pem",
    )  # fmt: skip
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    for name, text in (("ca", PEM), ("certificate", PEM), ("key", KEY)):
        path = tmp_path / f"tls/{name}.pem"
        assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (text, 0o600)
    broker = broker_of(replace(enrolment, key="", certificate=""), tmp_path)
    assert (broker.key, sorted(path.name for path in (tmp_path / "tls").iterdir())) == (None, ["ca.pem"])


def test_a_folder_that_cannot_be_written_is_named(enrolment: Enrolment, tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "tls").write_text("")
    with pytest.raises(StoreError, match=r"cannot write .*ca\.pem"):
        broker_of(enrolment, tmp_path)


def test_a_package_of_somebody_else_is_refused(enrolment: Enrolment, package: Package) -> None:
    """Another federation, another package; an enrolment without a package's digest takes any of the federation."""
    check_package(enrolment, package)
    check_package(replace(enrolment, package_digest=""), package)
    with pytest.raises(ConfigError, match="for package bbbbbbbbbbbb…"):
        check_package(replace(enrolment, package_digest="b" * 64), package)
    with pytest.raises(ConfigError, match="for federation aaaaaaaaaaaa…"):
        check_package(replace(enrolment, federation_digest="a" * 64), package)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """It is not there; it is of before signatures."""
    with pytest.raises(ConfigError, match="cannot read enrolment"):
        read_enrolment(tmp_path / "none.json")
    (tmp_path / "old.json").write_text('{"enrolment_format": 1}')
    with pytest.raises(EnrolmentError, match=r"old\.json: enrolment format 1 came, this software reads 2"):
        read_enrolment(tmp_path / "old.json")


def run(enrolment: Enrolment, package: Package, *more: str) -> list[str]:
    """Return the arguments of a run with this enrolment."""
    path = package.folder.parent / "me.enrolment.json"
    path.write_bytes(enrolment.to_json())
    state = str(package.folder.parent / "state")
    data = ["--data", "none.csv", "--package", str(package.folder), "--state", state]
    return ["run", "--enrolment", str(path), *data, *more]


def test_arguments_that_an_enrolment_says_already_are_refused(
    enrolment: Enrolment, package: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which of the two should count? Nobody could tell."""
    assert main(run(enrolment, package, "--device-id", "other", "--gateway-key", "a" * 64)) == 2
    assert "--device-id, --gateway-key came beside an enrolment" in capsys.readouterr().err


def test_a_package_that_its_maker_did_not_sign_is_refused(
    enrolment: Enrolment, package: Package, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything of it is run."""
    key = SigningKey.create(tmp_path / "maker.pem")
    assert main(run(replace(enrolment, package_key=key.public.hex()), package)) == 1
    assert "is not signed" in capsys.readouterr().err
