"""Cases of brokers' URLs: what each part may be, and where a password must not be mistaken for another part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edge_runtime.wire.vectors.case import Case

# Name: why, the URL, host, port, TLS, user, password, the URL as it is shown.
_ACCEPTED: Final[dict[str, tuple[str, str, str, int, bool, str, str, str]]] = {
    "name": ("the usual port", "mqtts://gateway.example", "gateway.example", 8883, True, "", "", ":8883"),
    "loopback": ("plain text to this machine", "mqtt://localhost", "localhost", 1883, False, "", "", ":1883"),
    "loopback_4": ("all of 127.0.0.0/8", "mqtt://127.9.255.3:99", "127.9.255.3", 99, False, "", "", ":99"),
    "loopback_6": ("IPv6, shown in brackets", "mqtt://[::1]", "::1", 1883, False, "", "", ":1883"),
    "address_6": ("IPv6 with a port", "mqtts://[2001:DB8::7]:1", "2001:db8::7", 1, True, "", "", ":1"),
    "capitals": ("scheme and host in capitals", "MQTTS://A.Example", "a.example", 8883, True, "", "", ":8883"),
    "slash": ("one slash at the end", "mqtts://a:65535/", "a", 65535, True, "", "", ":65535"),
    "zeros": ("zeros before the port", "mqtts://a:00007", "a", 7, True, "", "", ":7"),
    "user": ("a user alone", "mqtts://me@a", "a", 8883, True, "me", "", ":8883"),
    "nobody": ("an empty user", "mqtts://@a", "a", 8883, True, "", "", ":8883"),
    "password": ("a password with a mark", "mqtts://me:p%40ss@a", "a", 8883, True, "me", "p@ss", ":8883"),
    "password_marks": (
        "every mark that has a meaning; + is no space; the first colon divides",
        "mqtts://m%65:%3A%2f%3F%23%5B%25:+;@[::2]:8884",
        "::2", 8884, True, "me", ":/?#[%:+;", ":8884",
    ),
    "websocket": ("through a WebSocket, the usual port", "ws://localhost", "localhost", 80, False, "", "", ":80"),
    "websocket_tls": ("the same over TLS", "WSS://me:x@A.Example", "a.example", 443, True, "me", "x", ":443"),
    "websocket_path": ("the only path that there is", "wss://[::7]:8443/mqtt", "::7", 8443, True, "", "", ":8443"),
    "websocket_slash": ("one slash at the end", "ws://127.0.0.1:9001/", "127.0.0.1", 9001, False, "", "", ":9001"),
    "letters": ("UTF-8, written out and as it is", "mqtts://m%C3%A9:ü@a", "a", 8883, True, "mé", "ü", ":8883"),
    "bytes_200": ("200 bytes", f"mqtts://{'%75' * 200}@a", "a", 8883, True, "u" * 200, "", ":8883"),
}  # fmt: skip
_REFUSED: Final = {
    "empty": ("nothing", ""),
    "no_scheme": ("no scheme", "localhost:1883"),
    "scheme": ("another scheme", "http://localhost"),
    "no_host": ("no host", "mqtt://"),
    "no_host_user": ("no host behind a user", "mqtt://me:secret@"),
    "space_before": ("a space in front", " mqtt://localhost"),
    "newline": ("a line's end behind", "mqtt://localhost\n"),
    "space": ("a space in the host", "mqtts://a b"),
    "host_escaped": ("an escape in the host", "mqtts://%61"),
    "host_dash": ("a host that starts with a dash", "mqtts://-a"),
    "host_letters": ("a host of other letters than ASCII's", "mqtts://gätewäy.example"),
    "host_long": ("a host of 254 characters", f"mqtts://{'a' * 254}"),
    "bare_6": ("IPv6 without brackets", "mqtt://::1"),
    "brackets": ("a name in brackets", "mqtts://[gateway.example]"),
    "brackets_digits": ("a number in brackets, which would be shown as another host", "mqtts://[82]"),
    "brackets_colon": ("hex digits with one colon are no address", "mqtts://[a:7]"),
    "zone": ("an IPv6 zone", "mqtts://[fe80::1%25eth0]"),
    "port_word": ("a port that is no number", "mqtt://localhost:x"),
    "port_empty": ("a colon without a port", "mqtt://localhost:"),
    "port_0": ("port 0", "mqtt://localhost:0"),
    "port_65536": ("a port beyond the last", "mqtt://localhost:65536"),
    "port_digits": ("digits of another script", "mqtt://localhost:\uff11\uff18\uff18\uff13"),
    "path": ("a path", "mqtt://localhost/topic"),
    "path_mqtt": ("a WebSocket's path without one", "mqtts://gateway.example/mqtt"),
    "websocket_other_path": ("another path", "wss://gateway.example/ws"),
    "websocket_path_slash": ("a slash behind the path", "wss://gateway.example/mqtt/"),
    "websocket_path_capitals": ("a path in capitals", "wss://gateway.example/MQTT"),
    "websocket_plaintext": ("a WebSocket in plain text to another machine", "ws://192.168.0.7"),
    "slashes": ("two slashes at the end", "mqtt://localhost//"),
    "query": ("a query", "mqtt://localhost?tls=false"),
    "fragment": ("a fragment", "mqtt://localhost#a"),
    "plaintext": ("plain text to another machine, nobody allowed it", "mqtt://192.168.0.7"),
    "plaintext_name": ("a name that begins as this machine's address", "mqtt://127.0.0.1.example"),
    "plaintext_256": ("no address at all", "mqtt://127.0.0.256"),
    "plaintext_any": ("every interface is not this machine", "mqtt://[::]"),
    "at_twice": ("a mark in a password that was not escaped", "mqtts://me:p@ss@gateway.example"),
    "slash_password": ("a slash in a password: the host would be me, the port 12", "mqtts://me:12/34@gateway.example"),
    "hash_password": ("a hash in a password", "mqtts://me:12#34@gateway.example"),
    "space_password": ("a space in a password", "mqtts://me:12 34@gateway.example"),
    "escape_short": ("an escape of one digit", "mqtts://me:p%4@a"),
    "escape_word": ("an escape without digits", "mqtts://me:100%sure@a"),
    "escape_bytes": ("bytes that are not UTF-8", "mqtts://me:%FF@a"),
    "escape_newline": ("a user of two lines", "mqtts://m%0Ae@a"),
    "escape_nul": ("a NUL", "mqtts://me:%00@a"),
    "password_alone": ("a password without a user", "mqtts://:secret@a"),
    "bytes_201": ("201 bytes", f"mqtts://me:{'%75' * 201}@a"),
}


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    for name, (comment, url, host, port, tls, user, password, end) in _ACCEPTED.items():
        scheme = url.split(":")[0].lower()
        shown = f"{scheme}://{f'[{host}]' if ':' in host else host}{end}"
        meaning = {"host": host, "port": port, "tls": tls, "user": user, "password": password, "shown": shown}
        meaning["websocket"] = scheme in ("ws", "wss")
        yield Case("BrokerUrl", f"accept_{name}", url.encode(), "ACCEPT", comment, meaning=meaning)
    meaning = {"host": "192.168.0.7", "port": 1883, "tls": False, "user": "", "password": "", "websocket": False}
    yield Case(
        "BrokerUrl", "accept_plaintext", b"mqtt://192.168.0.7", "ACCEPT", "plain text over a network that is trusted",
        {"allow_plaintext": True}, {**meaning, "shown": "mqtt://192.168.0.7:1883"},
    )  # fmt: skip
    for name, (comment, url) in _REFUSED.items():
        yield Case("BrokerUrl", f"refuse_{name}", url.encode(), "REFUSED", comment)
