"""From an enrolment file to what a device runs with: its name, the broker, its keys, what signs with them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edge_runtime.errors import ConfigError, StoreError
from edge_runtime.federation.link import Broker
from edge_runtime.wire.broker_url import BrokerUrl
from edge_runtime.wire.enrolment import ENROLMENT_LIMIT, Enrolment
from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.private_files import write_private
from edge_runtime.wire.secure.signed_keys import Federation, KeySigner

FOLDER: Final = "tls"
"""In the state directory: the enrolment's PEM texts as files, which is how OpenSSL takes them."""


def read_enrolment(path: Path) -> Enrolment:
    """Read the file that ``broker_server enroll`` wrote.

    Raises:
        ConfigError: when it cannot be read.
        EnrolmentError: when it is none.
    """
    try:
        with path.open("rb") as file:
            return Enrolment.from_json(file.read(ENROLMENT_LIMIT + 1), str(path))
    except OSError as error:
        raise ConfigError(f"cannot read enrolment {path}: {error.strerror}") from error


def check_package(enrolment: Enrolment, package: Package) -> None:
    """Refuse a package that this enrolment is not for.

    Raises:
        ConfigError: with both digests.
    """
    federation = package.manifest.architecture.digest().hex()
    for what, came, expected in (
        ("federation", federation, enrolment.federation_digest),
        ("package", package.digest.hex(), enrolment.package_digest or package.digest.hex()),
    ):
        if came != expected:
            raise ConfigError(
                f"the enrolment is for {what} {expected[:12]}…, {package.folder} is of {came[:12]}…; "
                "use the package that it was made for, or ask for a new enrolment"
            )


def broker_of(enrolment: Enrolment, state: Path) -> Broker:
    """Return where the broker is, with certificate and key as files that only this user can read.

    Args:
        enrolment: of this device.
        state: the device's state directory, locked.

    Raises:
        StoreError: when the disk refuses.
    """
    at = enrolment.gateway
    url = BrokerUrl(at.host, at.port, at.tls, enrolment.user, enrolment.password, at.websocket)
    texts = {"ca": enrolment.ca, "certificate": enrolment.certificate, "key": enrolment.key}
    return Broker(url, **{name: _file(state / FOLDER / f"{name}.pem", text) for name, text in texts.items()})


def signer_of(broker: Broker, federation: Federation) -> KeySigner | None:
    """Return what signs a device's keys for masks; None where it has no certificate.

    Args:
        broker: as the device reaches it, with its certificate.
        federation: in which it takes part.

    Raises:
        ConfigError: when a file cannot be read.
    """
    if broker.certificate is None or broker.key is None:
        return None
    try:
        certificate, key = (path.read_text(encoding="utf-8") for path in (broker.certificate, broker.key))
        ca = broker.ca.read_text(encoding="utf-8") if broker.ca is not None else ""
        return KeySigner(certificate, key, ca, federation)
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error
    except (SecureError, UnicodeDecodeError) as error:
        raise ConfigError(f"certificate {broker.certificate} or what goes with it cannot be used: {error}") from error


def _file(path: Path, text: str) -> Path | None:
    try:
        path.unlink(missing_ok=True)  # of an older enrolment
        if not text:
            return None
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, text.encode())
    except OSError as error:
        text = f"cannot write {path}: {error.strerror}; free some space or choose another state directory"
        raise StoreError(text).about("state") from error
    return path
