"""What settings let pass unencrypted beyond this machine: allowed by hand, and told at every start. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from broker_server.config import MOSQUITTO, GatewayConfig
from edge_runtime.wire.broker_url import BrokerUrl, is_loopback


def exposures(config: GatewayConfig) -> Iterator[str]:
    """Yield a sentence for each way on which others can read and change what is sent."""
    listen, web = config.listen, config.web
    if config.broker in ("", MOSQUITTO):
        if listen.certificate is None and not is_loopback(listen.host):
            yield (
                f"devices reach {listen.host} port {listen.port} in plain text, and a name is whoever says it: anyone "
                "on the way can read and change what is sent; broker_server init makes certificates"
            )
    else:
        broker = BrokerUrl.parse(config.broker, allow_plaintext=True)
        if not broker.tls and not is_loopback(broker.host):
            yield (
                f"the broker {broker.host} is reached in plain text: anyone on the way can read and change what is "
                "sent; mqtts:// encrypts"
            )
    if web.port and not web.local and listen.certificate is None:
        yield (
            f"the page on {web.host} port {web.port} is in plain text: anyone on the way can read its token, unless a "
            "proxy with TLS is in front"
        )
