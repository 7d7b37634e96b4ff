"""``broker_server enroll``: the file that a device joins with, and what is refused before it is written."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import tiny

from broker_server.cli import run
from edge_runtime.wire.enrolment import Enrolment, EnrolmentError
from edge_runtime.wire.manifest import Package

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Return the only package below packages/, with the files that the options name beside it."""
    monkeypatch.chdir(tmp_path)
    package = tiny.make_package(tmp_path / "packages/tiny")
    for name, text in {"ca.pem": CERTIFICATE, "me.pem": CERTIFICATE, "me.key": KEY, "secret.txt": "gehe1m\n"}.items():
        Path(name).write_text(text)
    return package


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run ``enroll phone --json``, which works; return its answer."""
    code = run(["enroll", "phone", *arguments, "--json"])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    assert "gehe1m" not in captured.out
    assert "PRIVATE" not in captured.out
    return json.loads(captured.out)


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """Run ``enroll`` with a mistake; return its one line, after which no file is there."""
    assert run(["enroll", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert not list(Path().glob("*enrolment.json"))
    return captured.err


def test_a_file_for_a_certificate_has_everything(package: Package, capsys: pytest.CaptureFixture[str]) -> None:
    """Address, federation, package, authority, certificate and key; nobody but its owner may read it."""
    options = ("--ca", "ca.pem", "--certificate", "me.pem", "--key", "me.key", "--federation", "home")
    told = answer(capsys, "--gateway", "mqtts://gateway.example", *options)
    assert told["out"] == "phone.enrolment.json"
    assert told["secret"] is True
    path = Path(told["out"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {
        "enrolment_format": 2,
        "device": "phone",
        "federation": "home",
        "federation_digest": package.manifest.architecture.digest().hex(),
        "package_digest": package.digest.hex(),
        "gateway": {"host": "gateway.example", "port": 8883, "tls": True, "allow_plaintext": False, "websocket": False},
        "ca": CERTIFICATE,
        "certificate": CERTIFICATE,
        "key": KEY,
        "user": "",
        "password": "",
        "gateway_key": "",
        "package_key": "",
    }


def test_a_password_comes_from_a_file_and_a_package_may_be_any(
    package: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user is in the URL; the line's end is no part of the password."""
    options = ("--password-file", "secret.txt", "--any-package", "--out", "one.json", "--allow-plaintext")
    told = answer(capsys, "--gateway", "mqtt://me@192.168.0.7:1884", *options)
    assert told["gateway"] == "mqtt://192.168.0.7:1884"
    read = Enrolment.from_json(Path("one.json").read_bytes())
    assert (read.user, read.password, read.package_digest) == ("me", "gehe1m", "")
    assert (read.gateway.tls, read.gateway.allow_plaintext) == (False, True)
    assert package.manifest.architecture.digest().hex() == read.federation_digest


def test_without_secrets_the_line_for_people_warns_of_none(
    package: Package, capsys: pytest.CaptureFixture[str]
) -> None:
    """This machine's broker needs neither TLS nor leave for plain text."""
    assert run(["enroll", "phone", "--package", str(package.folder), "--gateway", "mqtt://localhost:1883"]) == 0
    line = capsys.readouterr().out
    assert line == (
        "phone.enrolment.json: phone joins default at mqtt://localhost:1883\n"
        "phone.enrolment.png: the same as a QR code\n"
    )


@pytest.mark.usefixtures("package")
def test_what_a_device_would_refuse_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Every mistake is one line that says what to do."""
    tls = ("--gateway", "mqtts://gateway.example")
    assert "another machine" in complaint(capsys, "phone", "--gateway", "mqtt://192.168.0.7")
    assert "certificates need tls" in complaint(capsys, "phone", "--gateway", "mqtt://localhost", "--ca", "ca.pem")
    assert "go together" in complaint(capsys, "phone", *tls, "--certificate", "me.pem")
    assert "key is no PEM text" in complaint(capsys, "phone", *tls, "--certificate", "me.pem", "--key", "ca.pem")
    assert "without a user" in complaint(capsys, "phone", *tls, "--password-file", "secret.txt")
    assert "letters, digits" in complaint(capsys, "a/#", *tls)
    assert "cannot read nowhere.pem" in complaint(capsys, "phone", *tls, "--ca", "nowhere.pem")
    assert "no device package" in complaint(capsys, "phone", *tls, "--package", "nowhere", code=1)
    assert "cannot write nowhere" in complaint(capsys, "phone", *tls, "--out", "nowhere/x.json", code=1)
    Path("image.pem").write_bytes(b"\xff\xfe")
    assert "is no text" in complaint(capsys, "phone", *tls, "--ca", "image.pem")


@pytest.mark.usefixtures("package")
def test_a_file_that_is_there_is_never_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    """It may be the only copy of a key."""
    Path("kept.json").write_text("mine")
    assert "is there already" in complaint(capsys, "phone", "--gateway", "mqtt://localhost", "--out", "kept.json")
    assert Path("kept.json").read_text() == "mine"


def test_no_error_shows_a_secret() -> None:
    """Neither a key nor a password of a wrong type, nor one that is too long."""
    for name, value in {"key": ["gehe1m"], "password": {"gehe1m": 1}}.items():
        with pytest.raises(EnrolmentError) as caught:
            Enrolment.from_json(json.dumps({"enrolment_format": 2, name: value}).encode())
        assert "gehe1m" not in str(caught.value)
    address = {"host": "localhost", "port": 1, "tls": False}
    tree = {"device": "a", "federation": "b", "federation_digest": "a" * 64, "package_digest": "", "gateway": address}
    long = {"enrolment_format": 2, **tree, "user": "me", "password": "gehe1m" * 50}
    with pytest.raises(EnrolmentError, match="password is over 200 bytes"):
        Enrolment.from_json(json.dumps(long).encode())
