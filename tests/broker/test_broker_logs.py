"""Lines of the log in each form, what systemd is told, and which settings are warned of."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny

from broker_server.config import GatewayConfig
from broker_server.config_tables import Listen
from broker_server.events import Events, JsonLines
from broker_server.exposure import exposures
from broker_server.logs import Lines, Records, is_journal, level_of
from broker_server.systemd import Supervisor
from broker_server.web_config import Web

LEFT = {"event": "bye", "at": 90_061.25, "device": "a"}
FULL = {"event": "storage", "at": 90_061.25, "detail": "the disk is full"}
TOKEN = "t" * 16
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what is to be warned of


def written(form: str, *events: dict[str, Any], least: int = logging.INFO) -> list[str]:
    """Return the lines of events."""
    out = io.StringIO()
    lines = Lines(out, form, least)
    for event in events:
        lines(event)
    return out.getvalue().splitlines()


def test_a_line_for_people_has_time_level_and_words() -> None:
    """A day, an hour, a minute and a second after the epoch; what has no words has no line."""
    assert written("text", LEFT, {"event": "up", "at": 0.0, "url": ""}, FULL) == [
        "1970-01-02T01:01:01Z info    a: left",
        "1970-01-02T01:01:01Z error   storage: the disk is full",
    ]


def test_a_line_for_machines_has_all_that_is_known() -> None:
    """The event as it is, its level, and the words where there are any."""
    up = {"event": "up", "at": 1.0, "url": "mqtt://h"}
    assert [json.loads(line) for line in written("json", LEFT, up)] == [
        {**LEFT, "level": "info", "message": "a: left"}, {**up, "level": "info"},
    ]  # fmt: skip


def test_a_line_for_the_journal_begins_with_its_priority() -> None:
    """The journal keeps the time itself (sd-daemon(3): 3 error, 6 info)."""
    assert written("journal", LEFT, FULL) == ["<6>a: left", "<3>storage: the disk is full"]


def test_levels_leave_lines_out() -> None:
    """A refusal is a warning, a failure an error; what strangers send in passing is for debugging."""
    refused = {"event": "delta", "at": 0.0, "device": "a", "bytes": 1, "code": "STALE", "detail": "old"}
    assert written("text", LEFT, refused, FULL, least=logging.ERROR) == written("text", FULL)
    assert level_of(refused) == logging.WARNING
    assert level_of({**refused, "code": "ACCEPTED"}) == logging.INFO
    assert level_of({"event": "hello", "code": None}) == logging.INFO
    assert level_of({"event": "reload", "failure": "no TOML"}) == logging.ERROR
    assert level_of({"event": "ignored"}) == logging.DEBUG
    private = {"event": "privacy", "left": 3, "noise_to_signal": 0.9}
    assert level_of(private) == logging.INFO
    assert level_of({**private, "left": 0}) == level_of({**private, "noise_to_signal": 1.0}) == logging.WARNING


def test_what_libraries_log_is_a_line_of_the_same_form() -> None:
    """Also a traceback is one line, so that a line is one thing."""
    out = io.StringIO()
    handler = Records(Lines(out, "text", logging.WARNING))
    record = logging.LogRecord("websockets", logging.ERROR, "", 0, "it\nbroke %s", ("twice",), None)
    record.created = 0.0
    handler.emit(record)
    record.levelno = logging.INFO
    handler.emit(record)
    assert out.getvalue() == "1970-01-01T00:00:00Z error   websockets: it broke twice\n"


def test_a_full_disk_costs_the_line_only() -> None:
    """A log on the disk that is full must not end the rounds; a reader that went away does."""
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        Lines(full)(LEFT)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            full.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_the_journal_is_known_by_what_reads_the_output(tmp_path: Path) -> None:
    """JOURNAL_STREAM names device and inode of the pipe that systemd gave; a shell's redirection makes it another."""
    with (tmp_path / "out").open("w") as out:
        status = os.fstat(out.fileno())
        assert is_journal(out, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not is_journal(out, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"})
        assert not is_journal(out, {})
    assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:1"})


def test_a_reload_begins_a_rotated_file_anew(tmp_path: Path) -> None:
    """Logrotate moves the file and sends SIGHUP: what comes then is in a new file, of mode 0600."""
    file = tmp_path / "events.jsonl"
    events = Events(lambda: 1.0)
    events.watch(JsonLines(file))
    events.tell("bye", device="a")
    file.rename(tmp_path / "events.jsonl.1")
    events.tell("bye", device="b")
    events.tell("reload", changed=[], later=[])
    events.tell("bye", device="c")
    before, after = ((tmp_path / name).read_text().splitlines() for name in ("events.jsonl.1", "events.jsonl"))
    assert [json.loads(line)["device"] for line in before] == ["a", "b"]
    assert [json.loads(line)["event"] for line in after] == ["reload", "bye"]
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_ready_alive_and_stopping(tmp_path: Path, *, abstract: bool) -> None:
    """As sd_notify(3) has it, on a socket file or on an abstract name; nobody there costs nothing."""
    name = f"@edge-experts-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        systemd.settimeout(5)
        supervisor = Supervisor({"NOTIFY_SOCKET": name})
        supervisor({"event": "listening", "version": 3, "url": "mqtts://gw:8883"})
        assert systemd.recv(4096) == b"READY=1\nSTATUS=version 3, mqtts://gw:8883"
        supervisor.alive()
        assert systemd.recv(4096) == b"WATCHDOG=1"
        supervisor({"event": "waiting", "reason": "1 of 2 devices are here"})
        assert systemd.recv(4096) == b"STATUS=waiting: 1 of 2 devices are here"
        supervisor({"event": "stopped"})
        assert systemd.recv(4096) == b"STOPPING=1"
    supervisor.alive()
    Supervisor({}).alive()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, []),
        ({"listen": Listen(host=EVERYWHERE, allow_plaintext=True)}, ["devices reach 0.0.0.0 port 1883 in plain text"]),
        ({"broker": "mqtt://127.0.0.1:1883"}, []),
        ({"broker": "mqtt://broker.example"}, ["the broker broker.example is reached in plain text"]),
        ({"broker": "mqtts://broker.example"}, []),
        (
            {"web": Web(host="10.0.0.1", token=TOKEN, allow_plaintext=True)},
            ["the page on 10.0.0.1 port 8700 is in plain"],
        ),
    ],
)
def test_what_goes_unencrypted_beyond_this_machine_is_told(fields: dict[str, Any], told: list[str]) -> None:
    """Each way by itself; on this machine, or with TLS, nothing."""
    sentences = list(exposures(GatewayConfig(Path("p"), **fields)))
    assert [sentence[: len(begin)] for sentence, begin in zip(sentences, told, strict=True)] == told


def test_a_running_gateway_warns_of_plain_text(tmp_path: Path) -> None:
    """In its log, at the start: whoever set allow_plaintext once is told for as long as it holds."""
    tiny.make_package(tmp_path / "package")
    command = [sys.executable, "-m", "broker_server", "run", "--package", tmp_path / "package", "--port", "0"]
    options = ["--state", tmp_path / "state", "--host", EVERYWHERE, "--allow-plaintext", "--log-level", "warning"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.terminate()
    assert line[20:].startswith(" warning not encrypted: devices reach 0.0.0.0 port 0 in plain text")
    assert process.returncode == 0
