"""X.509 certificates (RFC 5280) of a federation: an authority, the gateway, devices.

Keys are ECDSA P-256, which Android of any age reads. No file or clock; keys and serial numbers are random. The
authority's certificates are for TLS between a gateway and its devices and nothing else: it signs no other authority,
and a device's certificate makes no server.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker_server.errors import UsageError

AUTHORITY_DAYS: Final = 3650
GATEWAY_DAYS: Final = 730
DEVICE_DAYS: Final = 1825
_EARLIER: Final = timedelta(days=1)
"""A device's clock may be late."""


@dataclass(frozen=True)
class Identity:
    """A certificate with its key. Args: certificate, key: PEM texts, the key in PKCS#8 and not encrypted."""

    certificate: str
    key: str = field(repr=False)

    @property
    def parsed(self) -> x509.Certificate:
        """Return the certificate as an object."""
        return x509.load_pem_x509_certificate(self.certificate.encode())

    @property
    def serial(self) -> str:
        """Return the serial number of the certificate as TLS libraries write it."""
        return serial_text(self.parsed.serial_number)

    @property
    def ends(self) -> str:
        """Return the day on which the certificate ends, as YYYY-MM-DD."""
        return f"{self.parsed.not_valid_after_utc:%Y-%m-%d}"


def serial_text(number: int) -> str:
    """Return a serial number in upper-case hex with an even number of digits."""
    text = f"{number:X}"
    return text.zfill(len(text) + len(text) % 2)


def new_authority(name: str, now: datetime) -> Identity:
    """Return a new authority that holds for AUTHORITY_DAYS. Args: name: its CN, for people."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    draft = _draft(subject, subject, key.public_key(), now, now + timedelta(days=AUTHORITY_DAYS))
    draft = draft.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    draft = draft.add_extension(_usage(signs_certificates=True), critical=True)
    draft = draft.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return _signed(draft, key, key)


def new_gateway(authority: Identity, hosts: list[str], now: datetime) -> Identity:
    """Return a certificate for a gateway, with a new key. Args: hosts: names and addresses that devices know it by."""
    names = x509.SubjectAlternativeName([_host(host) for host in hosts])
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return _leaf(authority, "gateway", timedelta(days=GATEWAY_DAYS), now, [purpose, names])


def new_device(authority: Identity, device: str, now: datetime) -> Identity:
    """Return a certificate whose CN is a device, with a new key."""
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return _leaf(authority, device, timedelta(days=DEVICE_DAYS), now, [purpose])


def new_revocation_list(authority: Identity, serials: Iterable[str], now: datetime) -> bytes:
    """Return a list (CRL, PEM) of the certificates that are refused, which holds as long as the authority itself.

    Args:
        authority: that signed them.
        serials: in hex.
        now: when they are refused.
    """
    signer = authority.parsed
    draft = x509.CertificateRevocationListBuilder(signer.subject, now - _EARLIER, signer.not_valid_after_utc)
    for serial in sorted(serials):
        revoked = x509.RevokedCertificateBuilder(int(serial, 16), now)
        draft = draft.add_revoked_certificate(revoked.build())
    return draft.sign(_signing_key(authority), hashes.SHA256()).public_bytes(Encoding.PEM)


def hosts_of(certificate: str) -> list[str]:
    """Return the names and addresses that a gateway's certificate (PEM) is for."""
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def days_left(certificate: str, now: datetime) -> int:
    """Return the whole days until a certificate (PEM) ends; below 0 when it has ended."""
    return (x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc - now).days


def check_pair(identity: Identity, what: str) -> None:
    """Refuse a certificate and a key that are none or do not belong together.

    Raises:
        UsageError: naming ``what`` they are of.
    """
    try:
        key = load_pem_private_key(identity.key.encode(), password=None)
        fits = isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == identity.parsed.public_key()
    except (ValueError, TypeError) as error:
        raise UsageError(f"the certificate or the key of {what} cannot be read: {error}") from error
    if not fits:
        raise UsageError(f"the certificate and the key of {what} do not belong together")


def _leaf(
    authority: Identity,
    name: str,
    lifetime: timedelta,
    now: datetime,
    extensions: list[x509.ExtensionType],
) -> Identity:
    signer, key = authority.parsed, ec.generate_private_key(ec.SECP256R1())
    ends = min(now + lifetime, signer.not_valid_after_utc)
    draft = _draft(_name(name), signer.subject, key.public_key(), now, ends)
    draft = draft.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    draft = draft.add_extension(_usage(signs_certificates=False), critical=True)
    subject_key = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    issuer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key)
    for extension in (*extensions, issuer):
        draft = draft.add_extension(extension, critical=False)
    return _signed(draft, _signing_key(authority), key)


def _signing_key(authority: Identity) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(authority.key.encode(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - check_pair saw to it
    return key


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    serial = x509.random_serial_number() >> 64  # 95 random bits: no two alike, and shorter to scan and to type
    return x509.CertificateBuilder(issuer, subject, key, serial, now - _EARLIER, ends)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(
    draft: x509.CertificateBuilder, signer: ec.EllipticCurvePrivateKey, key: ec.EllipticCurvePrivateKey
) -> Identity:
    certificate = draft.sign(signer, hashes.SHA256())
    return Identity(certificate.public_bytes(Encoding.PEM).decode(), _pem(key))


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def utc_now() -> datetime:
    """Return the time, to the second, as certificates have it."""
    return datetime.now(UTC).replace(microsecond=0)
