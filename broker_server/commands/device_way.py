"""Where a device reaches its gateway, from the gateway's settings or from options."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker_server.broker.mqtt import Target
from broker_server.config import MOSQUITTO, GatewayConfig
from broker_server.errors import UsageError
from broker_server.identity.certificates import hosts_of
from edge_runtime.wire.broker_url import BrokerUrl
from edge_runtime.wire.signatures import SigningKey

ANY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104 - compared with


@dataclass(frozen=True)
class Way:
    """Where a device goes, and what it is given for that.

    Args:
        url: of the broker.
        ca: PEM text of the authority that signed the broker's certificate; "" is none.
        gateway_key: hex of the key that verifies what the gateway says; "" is none.
        authority: certificate of the authority that signs the device's; its key is beside it.
    """

    url: BrokerUrl
    ca: str = ""
    gateway_key: str = ""
    authority: Path | None = None


def way_of(args: argparse.Namespace, config: GatewayConfig | None) -> Way:
    """Return where a device goes: by --gateway, or by what the settings say.

    Raises:
        UsageError: when neither says it, or devices would not accept the gateway's certificate.
    """
    key = ""
    if config is not None and config.signing_key is not None:
        key = SigningKey.read(config.signing_key).public.hex()
    if args.gateway is not None:
        url = Target.parse(args.gateway, allow_plaintext=args.allow_plaintext).url
        ca = config.listen.ca if config is not None and url.tls and not url.user else None
        return Way(url, text_of(args.ca or ca), key, None if args.ca else ca)
    if config is None:
        raise UsageError(
            "say --gateway mqtts://HOST, where the device reaches the broker; or run this where broker_server init "
            "wrote gateway.toml"
        )
    if config.broker not in ("", MOSQUITTO):
        told = BrokerUrl.parse(config.broker, allow_plaintext=True)
        return Way(BrokerUrl(told.host, told.port, told.tls), text_of(args.ca or config.ca), key)
    listen = config.listen
    host = listen.public_host or listen.host
    if host in ANY_ADDRESS:
        raise UsageError("the settings say no address for devices; set public_host in [listen], or say --gateway")
    if listen.certificate is not None and host not in (known := hosts_of(text_of(listen.certificate))):
        raise UsageError(
            f"the gateway's certificate is for {', '.join(known)} and not for {host}, so that devices would not "
            f"connect; broker_server init --renew --host {host} makes another"
        )
    return Way(BrokerUrl(host, listen.port, listen.ca is not None), text_of(listen.ca), key, listen.ca)


def text_of(path: Path | None) -> str:
    """Return the text of a PEM file; "" without one.

    Raises:
        UsageError: when it cannot be read.
    """
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text; a PEM file begins with -----BEGIN") from error
