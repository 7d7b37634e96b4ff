"""Settings: TOML under the command line, every key checked."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from broker_server.broker.mqtt import Target
from broker_server.cli import run
from broker_server.config import GatewayConfig, differences
from broker_server.config_file import load
from broker_server.config_tables import Listen, RoundRules, Train
from broker_server.errors import UsageError
from broker_server.server_config import RobustMerging, Server
from edge_runtime.wire.broker_url import BrokerUrl

FULL = """
package = "packages/pixel8"
rounds = 20
keep_serving = true
[listen]
port = 1884
[round]
quorum = 6
deadline_s = 90
[train]
learning_rate = 0.002
codec = "int8"
"""


def write(tmp_path: Path, text: str) -> Path:
    """Write a configuration."""
    (tmp_path / "gateway.toml").write_text(text)
    return tmp_path / "gateway.toml"


def test_file_and_command_line(tmp_path: Path) -> None:
    """The command line goes before the file, the file before defaults; whole numbers are numbers."""
    config = load(write(tmp_path, FULL), {"round.quorum": 2, "rounds": None, "train.steps": 5})
    assert config.package == tmp_path / "packages/pixel8"
    assert (config.rounds, config.round.quorum, config.round.deadline_s) == (20, 2, 90.0)
    assert (config.listen.port, config.listen.host, config.train.steps) == (1884, "127.0.0.1", 5)
    assert config.keep_serving


def test_command_line_alone() -> None:
    """No file is needed."""
    assert load(None, {"package": Path("p")}) == GatewayConfig(Path("p"))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("rounds = 1.5\npackage='p'", "rounds is 1.5, expected int"),
        ("rounds = true\npackage='p'", "rounds is True, expected int"),
        ("quorum = 3\npackage='p'", "unknown keys quorum; known: package"),
        ("round = 3\npackage='p'", "expected a table"),
        ("[round]\nquorom = 3", "unknown keys quorom; known: quorum"),
        ("package = 3", "package is 3, expected Path"),
        ("rounds =", "is not TOML"),
        ("linger_s = inf", "linger_s is inf, expected a number"),
        ("[round]\ngrace_s = nan", "grace_s is nan, expected a number"),
        ("rounds = " + "[" * 5000, "is not TOML"),
    ],
)
def test_bad_file(tmp_path: Path, text: str, error: str) -> None:
    """The key, what came, what was expected."""
    with pytest.raises(UsageError, match=error):
        load(write(tmp_path, text), {"package": None if "package" in text else Path("p")})


def test_missing_file(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(UsageError, match=r"cannot read configuration .*none\.toml"):
        load(tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"federation": "a/b"}, "federation"),
        ({"round": RoundRules(quorum=0)}, "quorum 0"),
        ({"round": RoundRules(deadline_s=0)}, "deadline 0"),
        ({"round": RoundRules(join_wait_s=-1)}, "negative"),
        ({"round": RoundRules(max_staleness=-1)}, "max_staleness -1"),
        ({"rounds": -1}, "rounds -1"),
        ({"listen": Listen(port=70000)}, "port 70000"),
        ({"listen": Listen(host="192.168.1.5")}, "allow it: listen.allow_plaintext"),
        ({"listen": Listen(host="myhost")}, "allow it: listen.allow_plaintext"),
        ({"train": Train(steps=0)}, "0 steps"),
        ({"train": Train(learning_rate=0)}, "learning rate 0"),
        ({"train": Train(head_share=2)}, "head_share 2"),
        ({"mqtt": "4"}, "mqtt '4', expected one of 3, 5"),
        ({"train": Train(codec="int4")}, "codec 'int4', expected one of auto, float32, int8"),
        ({"server": Server(optimizer="lamb")}, "server.optimizer 'lamb', expected one of none, momentum, adam, yogi"),
        ({"server": Server(rate=-1)}, "server.rate -1, expected 0 to 10"),
        ({"server": Server(beta2=1)}, "server.beta2 1, expected 0 or more and less than 1"),
        ({"server": Server(tau=0)}, "server.tau 0, expected more than 0"),
        ({"robust": RobustMerging(trim=0.5)}, "robust.trim 0.5, expected 0 or more and less than 0.5"),
        ({"robust": RobustMerging(shrink=-1)}, "robust.shrink -1, expected 0 or more"),
        ({"robust": RobustMerging(remember=1.1)}, "robust.remember 1.1, expected 0 to 1"),
        ({"robust": RobustMerging(most_trust=0)}, "robust.most_trust 0, expected more than 0"),
        (
            {"robust": RobustMerging(enabled=True, trim=0, directions=False)},
            "robust.trim = 0 and robust.directions = false leaves nothing to do: set trim",
        ),
    ],
)
def test_impossible_settings(fields: dict[str, Any], error: str) -> None:
    """Refused before anything starts."""
    with pytest.raises(UsageError, match=error):
        GatewayConfig(Path("p"), **fields)


def test_plaintext_by_leave() -> None:
    """Said on purpose, other machines are served; loopback needs no leave."""
    assert GatewayConfig(Path("p"), listen=Listen(host="0.0.0.0", allow_plaintext=True))  # noqa: S104 - on purpose
    for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9"):
        assert GatewayConfig(Path("p"), listen=Listen(host=host))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("mqtt://localhost", BrokerUrl("localhost", 1883)),
        ("mqtt://127.0.0.1:1884", BrokerUrl("127.0.0.1", 1884)),
        ("mqtts://gw:p%40ss@[::7]", BrokerUrl("::7", 8883, tls=True, user="gw", password="p@ss")),  # noqa: S106
    ],
)
def test_urls(url: str, target: BrokerUrl) -> None:
    """The shared rules are the gateway's; neither text form tells a secret."""
    assert Target.parse(url) == Target(target)
    assert "p@ss" not in f"{Target(target)}{Target(target)!r}"


@pytest.mark.parametrize(
    "url", ["localhost:1883", "http://x", "mqtt://", "mqtt://x:port", "mqtt://localhost/path", "mqtt://far.example"]
)
def test_bad_urls(url: str) -> None:
    """What is expected is said."""
    with pytest.raises(UsageError, match="mqtt"):
        Target.parse(url)


def test_missing_authority(tmp_path: Path) -> None:
    """A certificate file that is not there."""
    with pytest.raises(UsageError, match=r"cannot use certificate file .*ca.pem \(No such file"):
        Target.parse("mqtts://broker.example", ca=tmp_path / "ca.pem")


def test_certificates_of_a_client_go_together_and_need_tls(tmp_path: Path) -> None:
    """A half, or files with a URL that would not use them, are refused."""
    with pytest.raises(UsageError, match=r"^certificate and key go together"):
        Target.parse("mqtts://broker.example", certificate=tmp_path / "gw.pem")
    with pytest.raises(UsageError, match=r"^ca came with mqtt://localhost:1883, which does not use TLS"):
        Target.parse("mqtt://localhost", ca=tmp_path / "ca.pem")
    with pytest.raises(UsageError, match=r"cannot use certificate .*gw.pem with key .*gw.key"):
        Target.parse("mqtts://broker.example", certificate=tmp_path / "gw.pem", key=tmp_path / "gw.key")


def test_a_mosquitto_listens_for_websockets_over_tls_only(tmp_path: Path) -> None:
    """It cannot keep that port to this machine; with certificates, or with leave, it may."""
    files = {name: tmp_path / name for name in ("ca", "certificate", "key")}
    with pytest.raises(UsageError, match="WebSocket port is open on every address"):
        GatewayConfig(Path("p"), broker="mosquitto", listen=Listen(websocket_port=9001))
    assert GatewayConfig(Path("p"), broker="mosquitto", listen=Listen(websocket_port=9001, **files))
    assert GatewayConfig(Path("p"), broker="mosquitto", listen=Listen(websocket_port=9001, allow_plaintext=True))
    assert GatewayConfig(Path("p"), listen=Listen(websocket_port=9001))
    with pytest.raises(UsageError, match="websocket_port 65536, expected 0 to 65535"):
        GatewayConfig(Path("p"), listen=Listen(websocket_port=65_536))
    with pytest.raises(UsageError, match="without certificates nothing is encrypted"):
        GatewayConfig(Path("p"), broker="mosquitto", listen=Listen(host="0.0.0.0"))  # noqa: S104 - on purpose


def test_what_changed_between_settings_is_named_by_key() -> None:
    """Keys of tables have the table's name in front; those that can change now come first."""
    old = GatewayConfig(Path("p"))
    new = GatewayConfig(Path("p"), rounds=3, listen=Listen(connections=7, port=1))
    assert differences(old, new, ["listen.connections", "listen.key"]) == (
        ["listen.connections"], ["rounds", "listen.port"]
    )  # fmt: skip
    assert differences(new, new, ["rounds"]) == ([], [])


TABLES = (
    *("listen", "round", "train", "limits", "server", "robust", "gate", "privacy", "secure", "web", "engine"),
    "upstream",
)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return what ``broker_server config`` prints."""
    assert run(["config", *arguments]) == 0
    return capsys.readouterr().out


def test_every_setting_is_printed_with_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder without a file every line is a comment, and without the # it is the configuration of the defaults."""
    monkeypatch.chdir(tmp_path)
    text = shown(capsys)
    assert tomllib.loads(text) == {name: {} for name in TABLES}
    plain = re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE)
    (tmp_path / "gateway.toml").write_text(plain)
    assert load(tmp_path / "gateway.toml", {"package": Path("p")}) == GatewayConfig(
        Path("p"), state=tmp_path / "gateway-state"
    )
    tree = json.loads(shown(capsys, "round.quorum", "--json"))
    assert [(one["key"], one["default"], one["value"], one["set"]) for one in tree] == [("round.quorum", 2, 2, False)]


def test_a_file_s_values_are_printed_and_its_secrets_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value of the file with the default beside it; a token or a password only as one that is there."""
    secrets = (
        'broker = "mqtts://gw:hunter22@broker.example"\n[web]\ntoken = "0123456789abcdefghi"\n[round]\nquorum = 6\n'
    )
    config = str(write(tmp_path, secrets))
    text = shown(capsys, "--config", config)
    assert tomllib.loads(text) == {
        **{name: {} for name in TABLES},
        "broker": "mqtts://gw:(hidden)@broker.example",
        "round": {"quorum": 6},
        "web": {"token": "(hidden)"},
    }
    assert "(default: 2)\nquorum = 6\n" in text
    assert "hunter22" not in shown(capsys, "--config", config, "--json")
    assert shown(capsys, "--config", config, "round.quorum").startswith("[round]\n# quorum: ")
    assert shown(capsys, "--config", config, "--check").endswith("every key is known, every value possible\n")


def test_a_file_that_is_wrong_is_told_before_a_gateway_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As ``run`` would: exit code 2, one line; a key that is none likewise."""
    assert run(["config", "--check", "--config", str(write(tmp_path, "[round]\nquorom = 3"))]) == 2
    assert "unknown keys quorom" in capsys.readouterr().err
    assert run(["config", "round.quorom", "--config", str(write(tmp_path, ""))]) == 2
    assert "no setting round.quorom" in capsys.readouterr().err
