"""From ``broker_server init`` to enrolled devices on a running gateway, and their revocation; files and their modes."""

from __future__ import annotations

import json
import queue
import re
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import zxingcpp
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from test_broker_service import Running

from broker_server.cli import run
from broker_server.config import GatewayConfig
from broker_server.config_file import load
from broker_server.config_tables import Listen
from broker_server.config_text import config_text
from broker_server.display import describe
from broker_server.identity.certificates import Identity, new_authority, new_device, new_gateway, utc_now
from broker_server.identity.key_files import read_pair, read_revoked
from broker_server.identity.qr import QrCode
from edge_runtime.federation.enrolled import broker_of
from edge_runtime.federation.link import Down, LinkEvent, Up
from edge_runtime.federation.mqtt.link import MqttLink
from edge_runtime.wire.enrolment import Enrolment
from edge_runtime.wire.signatures import SigningKey

LIMIT_S = 30.0


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package below packages/, where the commands run."""
    monkeypatch.chdir(tmp_path)
    tiny.make_package(tmp_path / "packages/tiny")
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run a command with --json, which works; return its answer."""
    code = run([*arguments, "--json"])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    assert "PRIVATE" not in captured.out
    return json.loads(captured.out)


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """Run a command that is refused; return its one line."""
    assert run(list(arguments)) == code
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    return captured.err


def made_on(name: str, **options: str) -> list[str]:
    """Return a command to make a gateway for this machine alone."""
    return ["init", name, "--host", "127.0.0.1", "--port", options.get("port", "0")]


def test_only_their_owner_reads_the_files(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Folders 0700, files 0600, enrolment and QR code included."""
    answer(capsys, "init", "srv", "--host", "gateway.example", "--package", "packages/tiny")
    answer(capsys, "enroll", "phone", "--config", "srv/gateway.toml", "--out", "srv/phone.json")
    modes = {
        path.relative_to(box / "srv").as_posix(): stat.S_IMODE(path.stat().st_mode) for path in box.rglob("srv/**/*")
    }
    assert modes.pop("identity") == stat.S_IMODE((box / "srv").stat().st_mode) == 0o700
    assert set(modes) == {
        "gateway.toml", "phone.json", "phone.png", "identity/authority.pem", "identity/authority.key",
        "identity/gateway.pem", "identity/gateway.key", "identity/signing.key", "identity/certificates.jsonl",
        "identity/revoked.txt",
    }  # fmt: skip
    assert set(modes.values()) == {0o600}


@pytest.mark.usefixtures("box")
def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither settings, nor keys, nor an enrolment; and a certificate is not signed for a file that is not written."""
    answer(capsys, *made_on("."))
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert "gateway.toml and identity are there already" in complaint(capsys, "init")
    Path("phone.enrolment.png").write_text("mine")
    assert "phone.enrolment.png is there already" in complaint(capsys, "enroll", "phone")
    Path("phone.enrolment.png").unlink()
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("box")
def test_settings_explain_themselves_and_hold_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    """Every key has a comment; with the # taken away, the file says what is the default anyway."""
    answer(capsys, *made_on(".", port="8884"))
    text = Path("gateway.toml").read_text()
    written = load(Path("gateway.toml"), {})
    Path("all.toml").write_text(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE))
    assert load(Path("all.toml"), {}) == written
    listen = Listen(
        host="0.0.0.0", port=8884, ca=Path("identity/authority.pem"), certificate=Path("identity/gateway.pem"),  # noqa: S104
        key=Path("identity/gateway.key"), revoked=Path("identity/revoked.txt"), public_host="127.0.0.1",
    )  # fmt: skip
    package, key = Path("packages/tiny"), Path("identity/signing.key")
    assert written == GatewayConfig(package, state=Path("gateway-state"), signing_key=key, listen=listen)
    assert re.search(r"^# quorum: devices that must be ready.*\n# quorum = 2$", text, re.MULTILINE)
    assert config_text({}, "") == re.sub(r"^(?=\w+ = )", "# ", config_text({}, ""), flags=re.MULTILINE)


def test_relative_paths_begin_in_the_files_folder(tmp_path: Path) -> None:
    """Wherever the command runs; absolute ones stay, and an empty one is none."""
    (tmp_path / "x.toml").write_text('package = "p"\nstate = "/srv/s"\nca = ""\n[listen]\nrevoked = "r.txt"\n')
    config = load(tmp_path / "x.toml", {"evaluate": Path("mine.csv")})
    assert (config.package, config.state, config.ca) == (tmp_path / "p", Path("/srv/s"), None)
    assert (config.listen.revoked, config.evaluate) == (tmp_path / "r.txt", Path("mine.csv"))


def test_certificates_are_for_one_purpose_each(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """P-256; the authority signs no other one, the gateway's is no device's and the reverse; lifetimes as said."""
    told = answer(capsys, "init", ".", "--host", "Gateway.example", "--host", "fd00::7", "--host", "10.0.0.7")
    assert told["hosts"] == ["gateway.example", "fd00::7", "10.0.0.7", "localhost", "127.0.0.1"]
    answer(capsys, "enroll", "phone")
    enrolment = Enrolment.from_json((box / "phone.enrolment.json").read_bytes())
    authority, gateway, device = (
        x509.load_pem_x509_certificate(text.encode())
        for text in (enrolment.ca, (box / "identity/gateway.pem").read_text(), enrolment.certificate)
    )
    for certificate, years in ((authority, 10), (gateway, 2), (device, 5)):
        assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
        certificate.verify_directly_issued_by(authority)
        assert certificate.not_valid_after_utc - utc_now() > timedelta(days=365 * years - 1)
    basic = [
        one.extensions.get_extension_for_class(x509.BasicConstraints).value for one in (authority, gateway, device)
    ]
    assert [(one.ca, one.path_length) for one in basic] == [(True, 0), (False, None), (False, None)]
    use = [one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value for one in (gateway, device)]
    assert [[oid._name for oid in one] for one in use] == [["serverAuth"], ["clientAuth"]]
    assert device.subject.rfc4514_string() == "CN=phone"
    assert (enrolment.gateway.host, enrolment.gateway.port, enrolment.gateway.tls) == ("gateway.example", 8883, True)
    assert enrolment.gateway_key == SigningKey.read(box / "identity/signing.key").public.hex() == told["gateway_key"]


@pytest.mark.usefixtures("box")
def test_qr_code_is_the_enrolment(capsys: pytest.CaptureFixture[str]) -> None:
    """Read by a decoder as cameras have one; also from what a terminal shows. The longest names fit."""
    federation, host = "f" * 64, "gateway." + "x" * 50 + ".example"
    answer(capsys, "init", ".", "--host", host, "--federation", federation)
    told = answer(capsys, "enroll", "d" * 64, "--out", "phone.json", "--package-key", "ab" * 32)
    from PIL import Image

    with Image.open(told["qr"]) as image:
        [code] = zxingcpp.read_barcodes(np.asarray(image.convert("L")))
    assert Enrolment.from_json(code.bytes) == Enrolment.from_json(Path("phone.json").read_bytes())
    [shown] = zxingcpp.read_barcodes(picture_of(QrCode(code.bytes)))
    assert shown.bytes == code.bytes


def picture_of(code: QrCode) -> Any:
    """Return the pixels of what a terminal shows: black on white, each character two modules high."""
    lines = [
        line.removeprefix("\033[38;5;16;48;5;231m").removesuffix("\033[0m") for line in code.terminal().splitlines()
    ]
    assert {len(line) for line in lines} == {code.columns}
    upper = [[character in "█▀" for character in line] for line in lines]
    lower = [[character in "█▄" for character in line] for line in lines]
    rows = np.array([row for pair in zip(upper, lower, strict=True) for row in pair])
    return np.where(np.kron(rows, np.ones((4, 4), bool)), 0, 255).astype(np.uint8)


@pytest.mark.usefixtures("box")
def test_several_devices_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Each has its own certificate; nothing is signed when one of them cannot be enrolled."""
    answer(capsys, *made_on(".", port="8883"))
    told = answer(capsys, "enroll", "kitchen", "hall")
    assert [about["out"] for about in told] == ["kitchen.enrolment.json", "hall.enrolment.json"]
    assert len({about["certificate"] for about in told}) == 2
    assert "hall.enrolment.json is there already" in complaint(capsys, "enroll", "attic", "hall")
    assert "are of one device" in complaint(capsys, "enroll", "attic", "cellar", "--out", "x.json")
    assert len(Path("identity/certificates.jsonl").read_text().splitlines()) == 2
    assert not Path("attic.enrolment.json").exists()


@pytest.mark.usefixtures("box")
def test_enrolment_too_long_for_a_qr_code_is_written_without(capsys: pytest.CaptureFixture[str]) -> None:
    """A large authority of somebody else's: the file is what counts."""
    Path("ca.pem").write_text("-----BEGIN CERTIFICATE-----\n" + "A" * 3000 + "\n-----END CERTIFICATE-----\n")
    assert run(["enroll", "phone", "--gateway", "mqtts://gateway.example", "--ca", "ca.pem"]) == 0
    assert "no QR code: the enrolment is longer than the 2953 bytes" in capsys.readouterr().out
    assert (Path("phone.enrolment.json").exists(), Path("phone.enrolment.png").exists()) == (True, False)


@pytest.mark.usefixtures("box")
def test_renewed_certificate_is_accepted_by_the_same_devices(capsys: pytest.CaptureFixture[str]) -> None:
    """The same authority signs it, for the same or for other hosts; the old pair is kept."""
    answer(capsys, *made_on(".", port="8883"))
    answer(capsys, "enroll", "phone")
    old = Path("identity/gateway.pem").read_text()
    assert answer(capsys, "init", "--renew")["hosts"] == ["127.0.0.1", "localhost"]
    assert Path("identity/gateway.pem").read_text() != old
    assert old in [path.read_text() for path in Path("identity").glob("gateway.until-*.pem")]
    assert answer(capsys, "init", "--renew", "--host", "box.example")["hosts"] == [
        "box.example",
        "localhost",
        "127.0.0.1",
    ]
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain("identity/gateway.pem", "identity/gateway.key")
    assert {stat.S_IMODE(path.stat().st_mode) for path in Path("identity").iterdir()} == {0o600}
    text = Path("gateway.toml").read_text()
    Path("gateway.toml").write_text(text.replace('public_host = "127.0.0.1"', 'public_host = "10.1.1.1"'))
    assert "not for 10.1.1.1" in complaint(capsys, "enroll", "other")


@pytest.mark.usefixtures("box")
def test_mistakes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """What came, what was expected, what to do; nothing is written."""
    assert "--host 'a b' is no name or address" in complaint(capsys, "init", "--host", "a b")
    assert "federation" in complaint(capsys, "init", "--federation", "a/b")
    assert "port 70000" in complaint(capsys, "init", "--port", "70000")
    assert "say --gateway mqtts://HOST" in complaint(capsys, "enroll", "phone")
    assert "no settings that name the file" in complaint(capsys, "revoke", "--certificate", "AB")
    assert "no device 'phone'" in complaint(capsys, "revoke", "phone")
    assert [path.name for path in Path().iterdir()] == ["packages"]
    answer(capsys, *made_on(".", port="8883"))
    assert "'xyz' is no serial number" in complaint(capsys, "revoke", "--certificate", "xyz")
    Path("identity/authority.key").rename("elsewhere.key")
    assert "cannot read identity/authority.key" in complaint(capsys, "enroll", "phone")
    Path("identity/authority.key").write_text(new_authority("other", utc_now()).key)
    assert "do not belong together" in complaint(capsys, "enroll", "phone")


class Phone:
    """A device's link, by nothing but its enrolment file."""

    def __init__(self, file: Path, state: Path) -> None:
        enrolment = Enrolment.from_json(file.read_bytes())
        self.events: queue.Queue[LinkEvent] = queue.Queue()
        broker = broker_of(enrolment, state)
        self.link = MqttLink(broker, enrolment.federation, enrolment.device, b"gone", self.events.put)
        self.link.start()

    def wait(self, fits: Callable[[LinkEvent], bool]) -> LinkEvent:
        """Return the next event that fits."""
        while True:
            event = self.events.get(timeout=LIMIT_S)
            if fits(event):
                return event


@pytest.fixture
def running(box: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Running]:
    """A gateway for other machines, as init made it, on a free port, which its settings then name."""
    answer(capsys, *made_on("."))
    service = Running(load(box / "gateway.toml", {}))
    port = service.url.rpartition(":")[2]
    text = (box / "gateway.toml").read_text()
    (box / "gateway.toml").write_text(text.replace("port = 0", f"port = {port}"))
    yield service
    service.stop()


def test_enrolled_device_joins_and_a_revoked_one_is_out(
    box: Path, running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three commands: init, enroll, run; then revoke, which a running gateway heeds, and enroll anew."""
    first = answer(capsys, "enroll", "phone")
    phone = Phone(box / first["out"], box / "phone")
    phone.wait(lambda event: isinstance(event, Up))
    second = answer(capsys, "enroll", "phone", "--out", "again.json")
    assert second["earlier_certificates"] == [first["certificate"]]
    assert answer(capsys, "revoke", "--certificate", first["certificate"].lower())["certificates"] == [
        first["certificate"]
    ]
    assert read_revoked(box / "identity/revoked.txt") == {first["certificate"]}
    phone.wait(lambda event: isinstance(event, Down))
    assert "Not authorized" in str(phone.wait(lambda event: isinstance(event, Down)))
    phone.link.stop(b"bye")
    again = Phone(box / "again.json", box / "again")
    again.wait(lambda event: isinstance(event, Up))
    assert set(answer(capsys, "revoke", "phone")["certificates"]) == {first["certificate"], second["certificate"]}
    again.wait(lambda event: isinstance(event, Down))
    again.link.stop(b"bye")
    assert "a revoked device" in [event["reason"] for event in running.events("refused")]


def test_another_authoritys_device_is_told_of(box: Path, running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """The enrolment of another gateway with the same names: refused by TLS, and an event says why."""
    answer(capsys, "enroll", "phone")
    stranger = new_device(new_authority("edge-experts default", utc_now()), "phone", utc_now())
    file = box / "phone.enrolment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | vars(Identity(stranger.certificate, stranger.key))))
    phone = Phone(file, box / "phone")
    phone.wait(lambda event: isinstance(event, Down))
    phone.link.stop(b"bye")
    reason = "certificate not accepted: unable to get local issuer certificate"
    assert reason in [event["reason"] for event in running.events("refused")]
    running.stop()
    assert run(["status", "--json"]) == 1  # the gateway has ended
    assert json.loads(capsys.readouterr().out)["limits"][f"refused: {reason}"] >= 1


def test_certificate_that_is_about_to_end_is_told_of(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 730 days 711 and an hour have gone, 18 whole ones are left, and the running gateway says what to do."""
    answer(capsys, *made_on("."))
    authority = read_pair(box / "identity/authority.pem", "the authority")
    old = new_gateway(authority, ["127.0.0.1"], utc_now() - timedelta(days=711, hours=1))
    (box / "identity/gateway.pem").write_text(old.certificate)
    (box / "identity/gateway.key").write_text(old.key)
    running = Running(load(box / "gateway.toml", {}))
    pause = threading.Event()
    for _ in range(600):
        if running.events("certificate"):
            break
        pause.wait(0.05)
    [event] = running.events("certificate")
    running.stop()
    assert event["days"] == 18
    assert "gateway.pem ends in 18 days; broker_server init --renew makes the next" in describe(event)
    assert "has ended: no device can connect" in describe(event | {"days": -1})
